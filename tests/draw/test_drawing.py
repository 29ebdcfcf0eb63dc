"""Drawings of models: what is a box, what it says, and that nothing is on anything else."""

from __future__ import annotations

import itertools
import json
import re
import time
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jax
import numpy as np
import onnx
import pytest
from jax.sharding import PartitionSpec
from onnx import TensorProto, helper

import onnxla
from onnxla.commands.main import main
from onnxla.draw.compose import Shown, Wire, shown
from onnxla.draw.drawing import Drawing
from onnxla.draw.labels import SMALL, width_of
from onnxla.draw.members import Cluster, Leaf
from onnxla.draw.scene import Port
from onnxla.draw.style import DARK, LIGHT
from support import real_models
from support.nested_model import nested
from support.small_models import graph, header, linear, make

FILES = Path(__file__).parents[1] / "exporters" / "files"
FLOAT = TensorProto.FLOAT


@cache
def load_real(name: str) -> onnxla.Module:
    """One of the real models, or a file of an exporter."""
    if name.startswith(("torch", "keras", "paddle", "jax")):
        return onnxla.load(FILES / f"{name}.onnx")
    if name == "nested":
        return onnxla.load(nested())
    if name == "long":
        return onnxla.load(long_model(5000))
    if name.startswith("traceforge"):
        return onnxla.load(real_models.fetched(f"{name}_int8.onnx")())
    table = {**real_models.LISTED, **real_models.FURTHER}
    return onnxla.load(table[name].load())


def long_model(count: int) -> bytes:
    """A model of so many nodes, in blocks with a way around each, of which some are others."""
    nodes, x = [], "x"
    for i in range(count):
        block, place = divmod(i, 25)
        operator = "Tanh" if block % 9 == 4 and place == 3 else ("Relu", "Neg", "Abs")[i % 3]
        inputs = [x, f"v{i - 20}"] if place == 24 else [x]
        operator = "Add" if place == 24 else operator
        name = f"/layers.{block}/{'ab'[place > 12]}/{operator}_{i}"
        nodes.append(helper.make_node(operator, inputs, [x := f"v{i}"], name=name))
    return graph(nodes, {"x": (FLOAT, ["N", 8])}, [x])


def apart(where: Shown) -> None:
    """Checks that boxes beside each other do not touch, and that all are inside."""
    boxes = [place for place in where.places if not isinstance(place.item, Port)]
    closed = [(p.x, p.y, p.x + p.width, p.y + p.height) for p in boxes if not p.is_open]
    array = np.array(closed)
    assert array.min() >= 0
    assert array[:, 2].max() <= where.width + 1e-6
    assert array[:, 3].max() <= where.height + 1e-6
    for i, (left, top, right, bottom) in enumerate(closed):
        others = array[i + 1 :]
        over = (others[:, 0] < right + 3) & (others[:, 2] > left - 3)
        over &= (others[:, 1] < bottom + 3) & (others[:, 3] > top - 3)
        assert not over.any()
    frames = [place for place in boxes if place.is_open]
    for a, b in itertools.combinations(frames, 2):
        if a.depth == b.depth:
            over = min(a.x + a.width, b.x + b.width) > max(a.x, b.x) and min(
                a.y + a.height, b.y + b.height
            ) > max(a.y, b.y)
            assert not over


@cache
def drawn(name: str) -> Drawing:
    """The drawing of a real model."""
    drawing: Drawing = load_real(name).draw()
    return drawing


CASES = (
    "nested",
    "rapidocr/det",
    "ddddocr/common_det",
    "silero_vad/vad",
    "silero_vad/op18_ifless",
    pytest.param("light/densenet121", marks=pytest.mark.more),
    pytest.param("light/inception_v2", marks=pytest.mark.more),
    pytest.param("traceforge/decoder", marks=pytest.mark.more),
    "magika",
    "torch-export/vit",
    "torch-script/transformer_encoder",
    "keras-export/gru",
    "paddle-paddle2onnx/lstm",
    pytest.param("long", marks=pytest.mark.more),
)


@pytest.mark.parametrize("name", CASES)
def test_no_box_is_on_another(name: str) -> None:
    load_real(name)
    start = time.perf_counter()
    drawing = drawn(name)
    page = drawing.html
    taken = time.perf_counter() - start
    print(f"{name}: {len(drawing.content.root.leaves)} nodes, {taken:.1f} s, {len(page):,} bytes")
    assert taken < 60  # seconds; a few, but machines that test are busy
    first = [p for p in drawing.shown.places if not isinstance(p.item, Port)]
    assert len(first) <= 70
    apart(drawing.shown)
    rng = np.random.default_rng(0)
    clusters = [*drawing.plans]
    for share in (0.0, 0.1, 0.5):
        some = {c for c in clusters if rng.random() < share} | {clusters[0]}
        apart(shown(clusters[0], drawing.plans, some))
    ElementTree.fromstring(drawing.svg)


@pytest.mark.parametrize("name", ["silero_vad/vad", "torch-export/vit", "magika"])
def test_every_node_is_drawn_once(name: str) -> None:
    module, drawing = load_real(name), drawn(name)
    inside = [item for plan in drawing.plans.values() for item in plan.items]
    leaves = [item for item in inside if isinstance(item, Leaf)]
    assert len({*leaves}) == len(leaves) == len(drawing.content.root.leaves)
    nodes = [node for node, _ in onnxla.ir.traverse.all_nodes(module.program.model)]
    assert sorted(leaf.node.op_type for leaf in leaves) == sorted(
        node.op_type for node in nodes if node.op_type != "Constant"
    )
    made = {value for leaf in leaves for value in leaf.makes}
    lines = [v for plan in drawing.plans.values() for some in plan.values.values() for v in some]
    assert {v for leaf in leaves for v in leaf.reads} & made <= {*lines}


def points_of(wires: list[Wire]) -> np.ndarray:
    """Points along lines, near to each other: [n, 2]."""
    t = np.linspace(0, 1, 65)[:, None]
    found = []
    for wire in wires:
        for start, end in itertools.pairwise(np.array(wire.points)):
            bend = (start[1] + end[1]) / 2  # as `path` draws it; straight where x is the same
            a, b = np.array([start[0], bend]), np.array([end[0], bend])
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            found.append(sum(w * p for w, p in zip(weights, (start, a, b, end), strict=True)))
    return np.concatenate(found)


NESTED = ("nested", "torch-script/transformer_encoder", "keras-export/gru", "silero_vad/vad")


@pytest.mark.parametrize("name", NESTED)
def test_no_line_is_on_a_title_or_on_the_sign_beside_it(name: str) -> None:
    drawing = drawn(name)
    clusters = [*drawing.plans]
    rng = np.random.default_rng(0)
    for share in (1.0, 0.9, 0.5):
        some = {c for c in clusters[:200] if rng.random() < share} | {clusters[0]}
        where = shown(clusters[0], drawing.plans, some)
        points = points_of(where.wires)
        for place in where.places:
            if not (place.is_open and isinstance(place.item, Cluster)):
                continue
            end = place.x + 14 + drawing.plans[place.item].title
            sign = place.x + place.width - 25
            assert end < sign
            for left, right in ((place.x + 14, end), (sign, sign + 16)):
                inside = (points > [left, place.y + 9]) & (points < [right, place.y + 26])
                assert not inside.all(1).any(), place.item.title


def titles(drawing: Drawing) -> dict[str, Cluster]:
    """The clusters of a drawing by title."""
    return {cluster.title: cluster for cluster in drawing.plans}


def test_scopes_and_repeated_blocks_are_folded() -> None:
    drawing = onnxla.load(long_model(700)).draw()
    (run,) = [c for c in drawing.plans if c.kind == "run" and c.title.startswith("layers.5")]
    assert [member.title for member in run.members] == [f"layers.{i}" for i in range(5, 13)]
    assert {member.title for member in run.members[0].members} == {"a", "b"}


def test_blocks_are_found_without_names() -> None:
    nodes, x = [], "x"
    for i in range(12):
        for j, operator in enumerate(("Relu", "Neg", "Tanh", "Abs")):
            nodes.append(helper.make_node(operator, [x], [x := f"v{i}_{j}"]))
    drawing = onnxla.load(graph(nodes, {"x": (FLOAT, ["N", 8])}, [x])).draw()
    (run,) = [c for c in drawing.plans if c.kind == "run"]
    assert all(len(block.leaves) == 4 for block in run.members)
    assert len(run.leaves) >= 40


def test_pytorchs_metadata_tells_scopes() -> None:
    assert "attention" in titles(drawn("torch-export/vit"))


def test_a_part_is_cut_where_few_values_cross() -> None:
    drawing = drawn("rapidocr/det")
    parts = [c for c in drawing.content.root.members if isinstance(c, Cluster)]
    assert sum(len(part.reads) for part in parts) <= 3 * len(parts)


def test_constants_and_shapes_are_written_in_boxes_and_beside_lines() -> None:
    drawing = onnxla.load(linear()).draw()
    labels = [drawing.content.labels[leaf] for leaf in drawing.content.root.leaves]
    assert [(label.title, label.lines) for label in labels] == [
        ("MatMul", ("h", "B 3\u00d72")),
        ("Add", ("y", "B 0.5, -0.5")),
    ]
    assert drawing.content.types == {
        "x": "float32 N\u00d73",
        "h": "float32 N\u00d72",
        "y": "float32 N\u00d72",
    }
    assert ">N\u00d72</text>" in drawing.svg


def test_subgraphs_are_boxes_whose_values_are_told_apart() -> None:
    model = make(
        header()
        + """ g (float[3] x, bool c) => (float[3] y) {
            h = Exp (x)
            y = If (c) <
                then_branch = t () => (float[3] a) { k = Neg (h) a = Abs (k) },
                else_branch = e () => (float[3] b) { k = Sin (h) b = Cos (k) }
            >
        }"""
    )
    drawing = onnxla.load(model).draw()
    boxes = titles(drawing)
    branch = boxes["then_branch"]
    assert [leaf.node.op_type for leaf in branch.leaves] == ["Neg", "Abs"]
    assert branch.reads == ("h",)
    values = {v for leaf in drawing.content.root.leaves for v in leaf.makes}
    assert {"k", "k (2)"} <= values
    assert drawing.content.names["k (2)"] == "k"
    (if_box,) = [cluster for cluster in drawing.plans if cluster.kind == "node"]
    assert {*if_box.reads} == {"h", "c"}


def test_functions_are_boxes() -> None:
    text = """<ir_version: 9, opset_import: ["" : 20, "own" : 1]>
        g (float[3] x) => (float[3] y) { h = own.f (x)  y = own.f (h) }
        <domain: "own", opset_import: ["" : 20]> f (a) => (b) { t = Neg (a)  b = Exp (t) }"""
    drawing = onnxla.load(make(text)).draw()
    calls = [cluster for cluster in drawing.plans if cluster.kind == "node"]
    assert [len(call.leaves) for call in calls] == [2, 2]
    assert calls[0].makes[-1] in calls[1].reads or calls[1].makes[-1] in calls[0].reads


def roles_of(module: onnxla.Module) -> dict[str, str]:
    """The role of each node by its first output."""
    content = module.draw().content
    return {leaf.node.outputs[0]: content.role(leaf) for leaf in content.root.leaves}


def test_roles() -> None:
    model = make(
        header()
        + """ g (float[N, 3] x) => (float[N, 2] y, int64[N] best, int64[2, M] where) {
            h = MatMul (x, w)
            s = Shape (h)
            r = Reshape (h, s)
            f = Floor (r)
            y = Add (f, r)
            best = ArgMax <axis = 1, keepdims = 0> (y)
            where = NonZero (y)
        }""",
        w=np.ones((3, 2), np.float32),
    )
    module = onnxla.load(model)
    assert roles_of(module) == {
        "h": "trains",
        "s": "known",
        "r": "plain",
        "f": "steps",
        "y": "plain",
        "best": "steps",
        "where": "data",
    }
    adapted = roles_of(module.lora("w", rank=1))
    assert adapted["h"] == "frozen" or "adapter" in adapted.values()
    assert [*adapted.values()].count("adapter") == 2


def test_quantized_and_missing_nodes_have_their_colours() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Strange", ["h"], ["y"], domain="nowhere"),
    ]
    tensors = {"q": np.ones((4, 4), np.int8), "s": np.array(0.1, np.float32)}
    model = onnx.load_from_string(graph(nodes, {"x": (FLOAT, [1, 4])}, ["y"], tensors=tensors))
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    assert roles_of(onnxla.load(model)) == {"w": "quantized", "h": "plain", "y": "missing"}


def numbers(drawing: Drawing) -> dict[str, float]:
    """The overlay's number of each node."""
    figures = drawing.content.figures
    assert figures is not None
    return {leaf.node.outputs[0]: number for leaf, number in figures.numbers.items()}


def test_overlays() -> None:
    module = onnxla.load(linear())
    assert numbers(module.draw(overlay="parameters")) == {"h": 6.0, "y": 2.0}
    assert numbers(module.draw(overlay="flops")) == {"h": 2.0 * 2 * 2 * 3}
    assert numbers(module.draw(overlay="bytes")) == {
        "h": 4.0 * (2 * 3 + 3 * 2 + 2 * 2),
        "y": 4.0 * (2 * 2 + 2 + 2 * 2),
    }
    assert numbers(module.draw(overlay={"h": 0.5, "b": np.array([3.0, 4.0])})) == {
        "h": 0.5,
        "y": 5.0,
    }


def test_weights_of_integers_are_read_too() -> None:
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"], name="product")
    shape = helper.make_node("Shape", ["y"], ["s"], name="sizes")
    tensors = {"w": np.ones((3, 5), np.int8)}
    model = graph([node, shape], {"x": (TensorProto.INT8, [2, 3])}, ["y", "s"], tensors=tensors)
    module = onnxla.load(model)
    assert numbers(module.draw(overlay="bytes")) == {"y": 2 * 3 + 3 * 5 + 4 * 2 * 5}


def test_operations_are_those_that_xla_counts() -> None:
    module = load_real("ddddocr/common_det")
    drawing = module.draw(overlay="flops")
    sizes = drawing.content.roles.traced.sizes
    inputs = {
        value.name: np.zeros([sizes.get(n, n) for n in value.type.shape], value.type.dtype)
        for value in module.program.inputs
    }
    lowered = jax.jit(module.apply).lower(module.params, inputs)
    xla = lowered.cost_analysis()["flops"]
    ours = sum(numbers(drawing).values())
    assert ours == pytest.approx(xla, rel=0.05)  # which counts additions, and no padding


def test_errors_of_a_comparison_are_shown() -> None:
    module = onnxla.load(linear())
    found = onnxla.compare(module, {"x": np.ones((2, 3), np.float32)}, "reference")
    drawing = module.draw(overlay=found)
    assert {*numbers(drawing)} == {"h", "y"}
    assert ("heat", "error beside reference, relative") in drawing.content.legend
    assert drawing.content.heat(drawing.content.root.leaves[0]) == pytest.approx(0, abs=0.2)


def test_sharding_is_shown() -> None:
    mesh = jax.make_mesh((1,), ("model",))
    module = onnxla.load(linear()).with_sharding(mesh, {"w": PartitionSpec(None, "model")})
    figures = module.draw(overlay="sharding").content.figures
    assert figures is not None
    assert figures.texts is not None
    assert sorted(figures.texts.values()) == ["on each device", "split (None, model)"]


def test_a_cluster_has_the_sum_or_the_largest() -> None:
    module = load_real("torch-export/vit")
    drawing = module.draw(overlay="parameters")
    figures, box = drawing.content.figures, titles(drawing)["attention"]
    assert figures is not None
    assert figures.shared is not None
    sizes = {k: n for leaf in box.leaves for k, n in figures.shared[leaf].items()}
    assert figures.of(box) == sum(sizes.values())  # what two nodes read counts once
    boxes = [item for item in titles(drawing).values() if figures.of(item)]
    by_number = sorted(boxes, key=lambda item: (figures.of(item), figures.heat(item)))
    heat = [figures.heat(item) for item in by_number]
    assert heat == sorted(heat)  # more colour for more, whether in a node or in a cluster
    assert len({*heat}) == len({*map(figures.of, boxes)})
    grads = {name: np.full_like(value, 0.1) for name, value in module.params.items()}
    figures = module.draw(overlay=grads).content.figures
    box = titles(drawn("torch-export/vit"))["attention"]
    assert figures is not None
    assert 0 < max(figures.numbers.values()) < 10


def test_a_picture_is_as_wide_as_what_is_above_it() -> None:
    """Names of open sizes may make the line longer than a narrow graph."""
    axes = [f"dynamic_dimension_{i}" for i in range(3)]
    node = helper.make_node("Relu", ["x"], ["y"])
    module = onnxla.load(graph([node], {"x": (FLOAT, axes)}, ["y"]))
    drawing = module.draw()
    (width,) = re.findall(r'<svg [^>]*width="(\d+)"', drawing.svg)
    assert int(width) > width_of(drawing.content.subtitle, SMALL) > drawing.shown.width
    assert drawing.content.wire_text(["y"]) == "2\u00d72\u00d72"  # no name that was cut
    assert "dynamic_dim" not in drawing.content.subtitle
    for text in (drawing.svg, drawing.html):  # whole in what is shown beside the pointer
        assert all(f"{axis} = 2" in text for axis in axes)


def states(drawing: Drawing) -> dict[str, tuple[str, str]]:
    """What the changes say of each node."""
    changes = drawing.content.changes
    assert changes is not None
    return {leaf.node.outputs[0]: state for leaf, state in changes.states.items()}


def test_what_differs_from_another_module() -> None:
    module = onnxla.load(linear())
    trained = module.replace({"w": module.params["w"] + 0.25})
    assert states(trained.draw(beside=module)) == {
        "h": ("changed", "w differs by up to 0.25"),
        "y": ("same", ""),
    }
    adapted = states(module.lora("w", rank=1).draw(beside=module))
    assert [state for state, _ in adapted.values()].count("added") >= 3
    head = module.replace_head("h", 5).draw(beside=module)
    assert ("gone", "") in states(head).values()
    assert ("added", "") in states(head).values()
    apart(head.shown)


def test_depth_opens_clusters() -> None:
    module = load_real("torch-script/transformer_encoder")
    folded, all_open = module.draw(depth=0), module.draw(depth=50)
    assert [*folded.opened] == [folded.content.root]
    assert all_open.opened == {*all_open.plans}
    apart(all_open.shown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlay": "flop"}, "no overlay is named 'flop'; did you mean 'flops'"),
        ({"overlay": {}}, "the overlay has no numbers"),
        ({"overlay": {"nothing": 1.0}}, "names no node, value or parameter, such as 'nothing'"),
        ({"depth": -1}, "depth is a whole number of at least 0"),
        ({"height": 5}, "height is a whole number of at least 200"),
    ],
    ids=["overlay", "nothing", "names", "depth", "height"],
)
def test_wrong_values_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        onnxla.load(linear()).draw(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"overlay": 3},
        {"overlay": {"h": "a"}},
        {"overlay": {"h": 10**400}},
        {"overlay": {"h": [[1.0], [2.0, 3.0]]}},
        {"beside": "a.onnx"},
    ],
    ids=["overlay", "text", "large", "ragged", "beside"],
)
def test_wrong_types_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        onnxla.load(linear()).draw(**options)


def test_files(tmp_path: Path) -> None:
    drawing = onnxla.load(linear()).draw()
    for form, start in (("html", b"<!DOCTYPE html>"), ("svg", b"<svg"), ("png", b"\x89PNG")):
        path = tmp_path / f"graph.{form}"
        drawing.save(path)
        assert path.read_bytes().startswith(start)
    with pytest.raises(ValueError, match=r"path ends with .html, .svg or .png, got 'graph.pdf'"):
        drawing.save(tmp_path / "graph.pdf")
    assert repr(drawing) == (
        'Drawing of linear: 2 nodes, 4 boxes at first; save("graph.html") writes it'
    )


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf])
def test_a_picture_of_no_size(scale: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scale is a number above 0, got "):
        onnxla.load(linear()).draw().save(tmp_path / "graph.png", scale=scale)
    assert not [*tmp_path.iterdir()]


def test_a_png_shows_text(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    drawing = onnxla.load(linear()).draw()
    drawing.save(tmp_path / "graph.png")
    picture = np.asarray(image.open(tmp_path / "graph.png").convert("L"))
    assert picture.shape[1] >= 700
    assert picture.min() < 60 < 240 < picture.max()


def test_a_notebook_gets_a_page_and_a_picture() -> None:
    bundle = onnxla.load(linear()).draw()._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg")
    html = bundle["text/html"]
    before, _, after = html.partition("<script>")
    assert 'src="data:image/svg+xml;base64,' in before  # which stays where scripts do not run
    assert after.count("</script>") == 1  # none of the page's own ends this one


def test_the_command_line_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "linear.onnx").write_bytes(linear())
    path = tmp_path / "out.html"
    assert main(["info", str(tmp_path / "linear.onnx"), "--graph", str(path)]) == 0
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert "the graph is drawn in" in capsys.readouterr().err  # which leaves --json alone


NASTY = "</script><img src=x onerror=alert(1)>&\"'{{DATA}}\x00\u2028"


def nasty() -> onnxla.Module:
    """A model whose names are markup."""
    node = helper.make_node(
        "Relu", [NASTY], [f"{NASTY}!"], name=f"/{NASTY}/{NASTY}", doc_string=NASTY
    )
    end = helper.make_node("Neg", [f"{NASTY}!"], ["y"], name=NASTY)
    model = onnx.load_from_string(graph([node, end], {NASTY: (FLOAT, [NASTY, 2])}, ["y"]))
    model.graph.name = NASTY
    return onnxla.load(model)


def test_names_are_never_markup() -> None:
    drawing = nasty().draw()
    for text in (drawing.html, drawing.svg, drawing._repr_html_()):
        assert "<img src=x" not in text
    root = ElementTree.fromstring(drawing.svg)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
        *("svg", "title", "style", "rect", "g", "path", "text", "circle")
    }
    data = json.loads(re.search(r'id="data">(.*?)</script>', drawing.html, re.S)[1])  # type: ignore[index]
    assert data["values"][0][0] == NASTY


def luminance(colour: str) -> float:
    """The relative luminance of a colour, as WCAG has it."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    """The contrast of two colours."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def mixed(top: str, below: str, share: float) -> str:
    """A colour that lets another one through."""
    pairs = ((int(c[i : i + 2], 16) for c in (top, below)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_can_be_read(colours: dict[str, str]) -> None:
    grounds = ["back", "box", "inside", "within", *(n for n in colours if n.endswith("-fill"))]
    for ground in grounds:
        assert contrast(colours["text"], colours[ground]) >= 7, ground
        assert contrast(colours["small"], colours[ground]) >= 4.5, ground
        hot = mixed(colours["heat"], colours[ground], 0.6)
        assert contrast(colours["text"], hot) >= 4.5, ground
    for role in ("trains", "adapter", "quantized", "frozen", "steps", "data", "added", "gone"):
        assert contrast(colours[role], colours["box"]) >= 3, role
    assert {*LIGHT} == {*DARK}


def test_copies_that_loading_left_idle_are_not_drawn() -> None:
    module = load_real("torch-script/transformer_encoder")  # weights that its exporter merged
    drawing = module.draw()
    made = {name for leaf in drawing.content.root.leaves for name in leaf.makes}
    assert any(
        name.endswith(".merged")
        for node in module.program.model.graph.nodes
        for name in node.outputs
    )
    assert not any(name.endswith(".merged") for name in made)


def test_a_graph_of_nothing_is_drawn(tmp_path: Path) -> None:
    drawing = onnxla.load(graph([], {}, [])).draw()
    assert ": 0 nodes, 0 boxes at first" in repr(drawing)
    for form in ("html", "svg"):
        drawing.save(tmp_path / f"graph.{form}")
    assert ElementTree.parse(tmp_path / "graph.svg").getroot().tag.endswith("svg")


def test_idle_copies_in_subgraphs_and_functions_are_not_drawn() -> None:
    """One that a function hands out is read outside."""
    text = """<ir_version: 9, opset_import: ["" : 20, "own" : 1]>
        g (float[3] x, bool c) => (float[3] y) {
            k = own.f (x)
            y = If (c) <
                then_branch = t () => (float[3] a) { idle = Identity (w) a = Abs (k) },
                else_branch = e () => (float[3] b) { b = Identity (w) }
            >
        }
        <domain: "own", opset_import: ["" : 20]> f (x) => (u) {
            v = Constant <value = float[3] {1.0, 2.0, 3.0}> ()
            u = Identity (v)
            none = Identity (v)
        }"""
    root = onnxla.load(make(text, w=np.ones(3, np.float32))).draw().content.root
    made = [name for leaf in root.leaves for name in leaf.makes]
    assert sorted(made) == ["a", "b", "u", "y"]
    assert {"idle", "none"}.isdisjoint(root.makes)


def test_what_is_not_finite_is_seen() -> None:
    """NaN is what somebody looks for: it has the whole colour, and is more than any number."""
    module = onnxla.load(linear())
    figures = module.draw(overlay={"h": np.array([1.0, np.nan]), "y": np.inf}).content.figures
    assert figures is not None
    texts = {leaf.node.outputs[0]: figures.text(leaf) for leaf in figures.numbers}
    assert texts == {"h": "nan", "y": "inf"}
    assert {figures.heat(leaf) for leaf in figures.numbers} == {1.0}


def test_a_shared_weight_counts_once() -> None:
    nodes = [
        helper.make_node("MatMul", [f"h{k}", "w"], [f"h{k + 1}"], f"/e/{k}/M") for k in range(5)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in ("h0", "h5")]
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    shared = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    opsets = [helper.make_opsetid("", 17)]
    module = onnxla.load(helper.make_model(shared, opset_imports=opsets, ir_version=9))
    content = module.draw(overlay="parameters").content
    assert content.figures is not None
    assert content.figures.of(content.root) == content.figures.most == 16


@pytest.mark.parametrize("steps", [1, 5, 100])
def test_operations_of_loops_count_as_often_as_they_run(steps: int) -> None:
    scan = f"""
        g (float[2,2] s, float[{steps},2] x) => (float[2,2] y, float[N,2] ys) {{
            y, ys = Scan <num_scan_inputs = 1, body = b (float[2,2] a, float[2] e)
                => (float[2,2] c, float[2] o) {{ c = MatMul (a, w) o = Identity (e) }}> (s, x)
        }}"""
    loop = f"""
        g (float[2,2] s) => (float[2,2] y) <int64 n = {{{steps}}}> {{
            y = Loop <body = b (int64 i, bool go, float[2,2] a) => (bool on, float[2,2] c)
                {{ on = Identity (go) c = MatMul (a, w) }}> (n, , s)
        }}"""
    always = loop.replace("Identity (go)", "Identity (always)").replace(
        "<int64 n", "<bool always = {1}, int64 n"
    )
    own = loop.replace("on = Identity (go)", "").replace(
        "float[2,2] c)", "float[2,2] c) <bool on = {1}>"
    )
    for text in (scan, loop, always, own):
        module = onnxla.load(make(header() + text, w=np.eye(2, dtype=np.float32)))
        content = module.draw(overlay="flops").content
        assert content.figures is not None
        assert content.figures.of(content.root) == 16 * steps
