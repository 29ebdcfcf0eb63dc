"""The page of a drawing in a browser: what a click, a search and a narrow window do."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import onnxla
from onnxla.draw.compose import shown
from onnxla.draw.drawing import Drawing
from onnxla.draw.page import in_notebook
from onnxla.draw.scene import Port
from support.browser import in_page, needs_browser
from support.nested_model import nested
from support.small_models import graph, linear

pytestmark = needs_browser
FILES = Path(__file__).parents[1] / "exporters" / "files"
# What a reader does. `box` finds a box by its title, `click` clicks where it opens or is chosen.
READER = """
const $ = (id) => document.getElementById(id);
const boxes = () => [...document.querySelectorAll("#view [data-item]")];
const box = (title) => boxes().find((each) => each.querySelector("text").textContent === title);
const click = (element) => element.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const press = (title) => click(box(title).querySelector(".head") || box(title));
const copied = [];
Object.defineProperty(navigator, "clipboard", {
  value: { writeText: async (text) => { copied.push(text); } },
});
const search = (text) => {
  $("search").value = text;
  $("search").dispatchEvent(new Event("input"));
};
const enter = () => $("search").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
const rects = (shape) => boxes().map((each) => {
  const rim = each.querySelector(".rim"), at = each.transform.baseVal;
  const [x, y] = at.length
    ? [at[0].matrix.e, at[0].matrix.f] : [rim.x.baseVal.value, rim.y.baseVal.value];
  return [Number(each.dataset.item), x, y, rim.width.baseVal.value, rim.height.baseVal.value];
});
"""


@cache
def drawn(name: str = "torch-export/vit") -> Drawing:
    """The drawing of an exporter's file."""
    source = nested() if name == "nested" else FILES / f"{name}.onnx"
    drawing: Drawing = onnxla.load(source).draw()
    return drawing


def ask(folder: Path, drawing: Drawing, script: str, **window: Any) -> Any:
    """What a reader's script returns in the page of a drawing."""
    return in_page(folder, drawing.html, READER + script, **window)


@pytest.mark.parametrize(
    "name",
    [
        "nested",
        "torch-script/transformer_encoder",
        "keras-export/gru",
        pytest.param("torch-export/vit", marks=pytest.mark.more),
    ],
)
def test_boxes_are_where_python_puts_them(tmp_path: Path, name: str) -> None:
    drawing = drawn(name)
    found = ask(
        tmp_path,
        drawing,
        """
        const first = rects();
        $("open").click();
        const second = rects();
        $("open").click();
        const third = rects();
        const paths = [...document.querySelectorAll("#view .wire")].map((w) => w.getAttribute("d"));
        $("fold").click();
        return [first, second, third, rects(), paths.length];
        """,
    )
    clusters = [*drawing.plans]
    opened = {*drawing.opened}
    steps = [{*opened}]
    for _ in range(2):
        visible = {p.item for p in shown(clusters[0], drawing.plans, opened).places}
        opened |= {cluster for cluster in clusters if cluster in visible}
        steps.append({*opened})
    steps.append({clusters[0]})
    for rects, is_open in zip(found, steps, strict=False):
        where = shown(clusters[0], drawing.plans, is_open)
        expected = [
            (place.x, place.y, place.width, place.height)
            for place in where.places
            if not isinstance(place.item, Port)
        ]
        assert len(rects) == len(expected)
        apart = np.abs(np.array([got for _, *got in rects])[:, None] - np.array(expected))
        near = (apart < 0.2).all(-1)  # the browser rounds to single precision
        assert near.any(0).all()
        assert near.any(1).all()
    assert found[-1] == len(shown(clusters[0], drawing.plans, steps[2]).wires)


def test_a_click_copies_the_name_of_a_value(tmp_path: Path) -> None:
    module = onnxla.load(FILES / "torch-export/vit.onnx")
    names, toast, weight, chosen = ask(
        tmp_path,
        drawn(),
        """
        press("LayerNormalization");
        await wait(50);
        const toast = $("toast").textContent;
        const names = [...$("facts").querySelectorAll("button.name")];
        const weight = names.find((each) => each.textContent.endsWith(".weight"));
        weight.click();
        press("x");
        await wait(50);
        return [copied, toast, weight.textContent, document.querySelectorAll(".chosen").length];
        """,
    )
    value, parameter, entry = names
    assert toast == f"copied {value}"
    assert parameter == weight
    assert entry == "x"
    assert chosen == 1
    assert module.cut(outputs=value).output_names == (value,)
    train, _ = module.partition(parameter)
    assert [*train] == [parameter]


def test_a_click_opens_and_folds_a_box(tmp_path: Path) -> None:
    before, after, again = ask(
        tmp_path,
        drawn(),
        """
        const before = boxes().length;
        press("attention");
        const after = boxes().length;
        press("attention");
        return [before, after, boxes().length];
        """,
    )
    (box,) = [cluster for cluster in drawn().plans if cluster.title == "attention"]
    assert after == before + len(box.members)
    assert again == before


def test_a_search_opens_what_it_finds(tmp_path: Path) -> None:
    hits, title, visible, none = ask(
        tmp_path,
        drawn(),
        """
        search("softmax");
        const hits = $("hits").querySelectorAll("li").length;
        enter();
        const rim = document.querySelector(".chosen").getBoundingClientRect();
        const canvas = $("canvas").getBoundingClientRect();
        const visible = rim.left > 0 && rim.right < canvas.right && rim.top > canvas.top
          && rim.bottom < canvas.bottom;
        const title = $("facts").querySelector("h2").textContent;
        search("no such thing");
        return [hits, title, visible, $("hits").textContent];
        """,
    )
    assert hits >= 1
    assert title == "Softmax"
    assert visible
    assert none == "nothing has this name"


@pytest.mark.parametrize(
    "dark", [pytest.param(False, marks=pytest.mark.more), True], ids=["light", "dark"]
)
def test_nothing_is_wider_than_a_narrow_window(tmp_path: Path, dark: bool) -> None:
    wide, outside, texts, ground = ask(
        tmp_path,
        drawn("torch-script/transformer_encoder"),
        """
        click(boxes().find((each) => each.matches(".box:not(.fold):not(.pin)")));
        search("matmul");
        const outside = [...document.querySelectorAll("header *, aside *")].filter((each) => {
          const { left, right, width } = each.getBoundingClientRect();
          return width && (left < -1 || right > innerWidth + 1);
        }).map((each) => each.outerHTML.slice(0, 80));
        const spill = [...document.querySelectorAll("#view .box")].filter((each) => {
          const rim = each.querySelector(".rim").getBBox();
          return [...each.querySelectorAll("text")].some((text) => {
            const { x, width } = text.getBBox();
            return x < rim.x || x + width > rim.x + rim.width;
          });
        }).map((each) => each.textContent);
        return [document.documentElement.scrollWidth, outside, spill,
          getComputedStyle(document.body).backgroundColor];
        """,
        width=400,
        dark=dark,
    )
    assert wide <= 400
    assert outside == []
    assert texts == []
    assert ground == ("rgb(20, 23, 29)" if dark else "rgb(251, 251, 252)")


def test_five_thousand_nodes_stay_usable(tmp_path: Path) -> None:
    nodes, x = [], "x"
    for i in range(5000):
        operator = ("Relu", "Neg", "Abs", "Tanh")[(i * i + i // 7) % 4]
        nodes.append(helper.make_node(operator, [x], [x := f"v{i}"], name=f"n{i}"))
    model = graph(nodes, {"x": (TensorProto.FLOAT, ["N", 8])}, [x])
    first, found, last, toast = ask(
        tmp_path,
        onnxla.load(model).draw(),
        """
        const now = performance.now();
        const first = boxes().length;
        search("n4999");
        enter();
        const found = $("facts").textContent.includes("v4999");
        for (let i = 0; i < 4; i++) $("open").click();
        return [first, found, boxes().length, $("toast").textContent];
        """,
    )
    assert first <= 70
    assert found
    assert last <= 2000
    assert re.fullmatch(r"that would be [2-9],\d+ boxes: open some by a click", toast)


def test_names_are_text(tmp_path: Path) -> None:
    name = "</script><img src=x onerror=\"document.title='bad'\">"
    node = helper.make_node("Relu", [name], ["y"], name=f"/{name}/Relu")
    model = graph([node], {name: (TensorProto.FLOAT, [name, 2])}, ["y"])
    found = ask(
        tmp_path,
        onnxla.load(model).draw(),
        """
        press("Relu");
        search("script");
        await wait(50);
        return [document.title, document.querySelectorAll("img").length, $("facts").textContent];
        """,
    )
    assert found[:2] == ["test", 0]
    assert name in found[2]


def test_a_notebook_shows_the_page_in_its_own_theme(tmp_path: Path) -> None:
    drawing = onnxla.load(linear()).draw()
    output = in_notebook(drawing.html, drawing.svg, 500)
    page = f"<!DOCTYPE html><html><body data-jp-theme-light='false'>{output}</body></html>"
    found = in_page(
        tmp_path,
        page,
        """
        const frame = document.querySelector("iframe");
        return [document.querySelectorAll("img").length, frame.getAttribute("sandbox"),
          frame.getBoundingClientRect().height, frame.srcdoc.length];
        """,
    )
    assert found == [0, "allow-scripts allow-downloads", 500, len(drawing.html)]
