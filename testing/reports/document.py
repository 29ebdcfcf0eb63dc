"""A page that needs no other file: what all pages of reports share."""

from __future__ import annotations

import html

from onnxla.testing.reports.printable import printable

STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1c1f23;--quiet:#59626c;--line:#d5dae0;
--block:#f4f6f8;--link:#0b57d0}
@media(prefers-color-scheme:dark){:root{--back:#15181c;--text:#e6e8eb;--quiet:#a2abb6;
--line:#363c44;--block:#1f242a;--link:#8ab4f8}}
*{box-sizing:border-box}
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:72rem;
background:var(--back);color:var(--text);overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.2}h2{font-size:1.2rem;margin-top:2rem}
h3{font-size:1rem;margin:1.5rem 0 .3rem}
a{color:var(--link)}p{margin:.4rem 0}.quiet{color:var(--quiet)}
.scroll{overflow-x:auto}
table{border-collapse:separate;border-spacing:0;overflow-wrap:normal}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--back)}
th.text,td.text{text-align:left}td.wrap{white-space:normal;overflow-wrap:anywhere;min-width:14rem}
th{font-weight:600;vertical-align:bottom}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dd{margin:0}
pre{background:var(--block);padding:.8rem;overflow-x:auto;white-space:pre;overflow-wrap:normal;
font:.85rem/1.4 ui-monospace,monospace;border-radius:4px}
code{font:.9em ui-monospace,monospace}
.bar{display:flex;width:9rem;height:.8rem;border-radius:2px;overflow:hidden}
.dot{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.35em}
ul{padding-left:1.2rem}details{margin:.3rem 0}summary{cursor:pointer}
@media(max-width:40rem){body{padding:.7rem}dl{grid-template-columns:1fr}dt{margin-top:.4rem}
.bar{width:4rem}th,td{padding:.2rem .4rem}
/* What came of a case gets a line of its own. */
.failures,.failures tbody,.failures tr,.failures td{display:block;border:0;min-width:0}
.failures tr{display:grid;grid-template-columns:1fr auto auto;border-bottom:1px solid var(--line)}
.failures th{display:none}.failures td.wrap{grid-column:1/-1}}
"""


def document(title: str, *parts: str) -> str:
    """A page with a title and some parts, which are HTML already."""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{said(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{said(title)}</h1>\n" + "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )


def said(text: str) -> str:
    """Text as HTML."""
    return html.escape(printable(text))


def listing(items: list[str]) -> str:
    """A list of texts."""
    return f"<ul>{''.join(f'<li>{said(item)}</li>' for item in items)}</ul>"


def facts(lines: dict[str, str]) -> str:
    """Texts with their titles."""
    rows = "".join(f"<dt class='quiet'>{said(k)}</dt><dd>{said(v)}</dd>" for k, v in lines.items())
    return f"<dl>{rows}</dl>" if rows else ""
