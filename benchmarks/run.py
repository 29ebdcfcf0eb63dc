"""All benchmarks of speed and memory, as ratios to a peer in the same run.

    python benchmarks/run.py [PART ...] [--runs 15] [--torch-python PATH] [--json FILE] [--write]

Each part is a file of this folder, whose first lines tell what is measured. The JSON file has what
was measured last of each part; a run of some parts changes these alone. `--write` puts what was
measured into docs/measurements.md, with `--runs 0` what the JSON file has; other parts of the page
stay as they are. The ratios in docs/performance.md are those of that page.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import jax
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "measurements.md"
SUMMARY = ROOT / "docs" / "performance.md"
PARTS = {  # by file, the heading
    "inference": "Inference",
    "products": "Products and convolutions, by shape",
    "decode": "Text, token by token",
    "training": "Training step",
    "accelerator": "Training step on a GPU",
    "shares": "Where the time goes",
    "first_call": "First call",
    "depth": "Compiling a gradient, by depth",
    "load": "Loading",
    "memory": "Memory",
    "call": "Cost of a call",
    "trees": "Forests of decision trees",
    "cache": "Compile cache",
}
TORCH = ("training", "accelerator")  # parts that compare with PyTorch
PACKAGES = ("jax", "jaxlib", "numpy", "onnxruntime")
HEAD = """# Measurements

Made by `python benchmarks/run.py --write`; what each table has is told above it.
[Performance](performance.md) says what follows.

Each row is one thing, run by onnxla and by a peer, such as ONNX Runtime, as often as is stated
below the table: `median` is the median time of these runs, `fastest` that of the fastest. A ratio
is onnxla's time divided by the peer's, of medians or of the fastest runs: 0.5 is twice as fast, 2
takes twice as long. `ratio aimed at` is what is thought to be within reach. A cell is empty where
there is nothing to compare with. The sides take turns, run by run, so that whatever else the
machine does slows both; compare the ratios, not the times, of two tables.
"""


def measured(part: str, runs: int, torch_python: str) -> Iterator[dict[str, Any]]:
    """The rows of a part, or one that says why there are none."""
    module = importlib.import_module(part)
    if not hasattr(module, "measure"):
        yield {"note": f"benchmarks/{part}.py has no rows yet"}
        return
    options: dict[str, Any] = {"runs": runs, "torch_python": torch_python}
    known = inspect.signature(module.measure).parameters
    if part in TORCH and not torch_python:
        yield {"note": "not measured: --torch-python names no Python that has PyTorch"}
        return
    yield from module.measure(**{k: v for k, v in options.items() if k in known})


def machine() -> str:
    """Processor, cores and system, and the accelerator that JAX found."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    model = names[0] if names else platform.processor()
    system = f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    device = jax.devices()[0]
    return system if device.platform == "cpu" else f"{system}, {device.device_kind}"


def versions(torch_python: str) -> dict[str, str]:
    """Of what is compared."""
    command = ["git", "describe", "--always", "--dirty"]
    own = ""
    if shutil.which("git"):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        own = done.stdout.strip()
    found = {"onnxla": own or version("onnxla")}
    found |= {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    if torch_python:
        command = [torch_python, "-c", "import torch; print(torch.__version__)"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found["torch"] = done.stdout.strip()
    return found


def shown(column: str, value: Any) -> str:
    """A cell of a table, in a unit that suits it."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "" if value is None else str(value).replace("|", "\\|")
    if "bytes" in column:
        return f"{value / 2**20:,.1f} MiB"
    if "ratio" in column or column == "goal":
        return f"{value:.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    scale, unit = next(
        ((scale, unit) for scale, unit in ((1, "s"), (1e3, "ms")) if value * scale >= 1),
        (1e6, "us"),
    )
    return f"{float(f'{value * scale:.3g}'):g} {unit}"


def heading(column: str, columns: list[str]) -> str:
    """What a reader sees of a column's name, among the table's."""
    own = "onnxla" if "onnxla" in columns else "seconds"
    timed = {each[:-6] or own for each in columns if each.endswith("least")}
    if column == "goal":
        return "ratio aimed at"
    if column.startswith("ratio") and own in timed and len(timed) > 1:
        return f"ratio of {'fastest' if column.endswith('least') else 'medians'}"
    if column.endswith(" ratio"):
        return f"share of {column.removesuffix(' ratio')}"
    if column.endswith("least"):
        return f"{column[:-6] or own}, fastest"
    return f"{column}, median" if column in timed else column


def table(rows: list[dict[str, Any]]) -> str:
    """Rows in Markdown; columns are all that some row has."""
    columns = [*dict.fromkeys(column for row in rows for column in row)]
    cells = [[shown(column, row.get(column)) for column in columns] for row in rows]
    rule = ["---:" if isinstance(rows[0].get(column), float) else "---" for column in columns]
    names = [heading(column, columns) for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, rule, *cells))


def page(results: dict[str, Any], before: str) -> str:
    """docs/measurements.md, with the sections that it had before where there are no results."""
    kept = dict(re.findall(r"^## (.*)\n(?s:(.*?))(?=^## |\Z)", before, re.M))
    sections = [HEAD]
    for part, heading in PARTS.items():
        if part not in results:
            if heading in kept:
                sections.append(f"## {heading}\n{kept[heading]}".rstrip() + "\n")
            continue
        result = results[part]
        text = inspect.getdoc(importlib.import_module(part)) or ""
        used = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        sections += [
            f"## {heading}\n",
            text.split("\n\n    python ")[0] + "\n",
            table(result["rows"]) + "\n",
            f"{result['date']}; {result['runs']} runs; {result['machine']}; {used}; load average"
            f" {result['load average']:.1f} when it ended.\n",
        ]
    return "\n".join(sections)


def ratios(section: str) -> list[float]:
    """The first ratios of a section's table."""
    lines = re.findall(r"^\| (.*) \|$", section, re.M)
    head, _, *rows = (line.split(" | ") for line in lines)
    column = next(i for i, name in enumerate(head) if name.startswith("ratio"))
    return [float(cells[column]) for cells in rows if cells[column].strip()]


def summarized(summary: str, measurements: str) -> str:
    """docs/performance.md, with the ratios of the sections that lines of its table link to."""
    sections = dict(re.findall(r"^## (.*)\n(?s:(.*?))(?=^## |\Z)", measurements, re.M))

    def line(found: re.Match[str]) -> str:
        numbers = ratios(sections[found[3]])
        texts = (f"{each:.2f}" for each in (median(numbers), min(numbers), max(numbers)))
        return f"{found[1]}{' | '.join(texts)}{found[2]}"

    number = r"\d+\.\d\d"
    pattern = rf"^(\| .* \| ){number} \| {number} \| {number}( \| \[(.*)\]\(measurements\.md#.*)$"
    return re.sub(pattern, line, summary, flags=re.M)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--runs", type=int, default=15, help="of each side (default: 15; 0: none)")
    parser.add_argument("--torch-python", default="", metavar="PATH", help="a Python with PyTorch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was measured, kept")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    if unknown := {*arguments.parts} - {*PARTS}:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    jax.config.update("jax_enable_compilation_cache", False)
    kept = arguments.json
    results = json.loads(kept.read_text()) if kept and kept.is_file() else {}
    for part in (arguments.parts or PARTS) if arguments.runs else ():
        result = results[part] = {
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "versions": versions(arguments.torch_python if part in {*TORCH, "memory"} else ""),
            "runs": arguments.runs,
            "rows": [],
        }
        for row in tqdm(measured(part, arguments.runs, arguments.torch_python), part, unit="row"):
            result["rows"].append(row)
            result["load average"] = os.getloadavg()[0]
            if kept:  # now, since a long run may be interrupted
                kept.write_text(json.dumps(results, indent=1) + "\n")
        tqdm.write(f"{PARTS[part]}\n{table(result['rows'])}\n", file=sys.stdout)
    if arguments.write:
        PAGE.write_text(page(results, PAGE.read_text()))
        SUMMARY.write_text(summarized(SUMMARY.read_text(), PAGE.read_text()))


if __name__ == "__main__":
    main()
