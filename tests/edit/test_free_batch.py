"""Files for a batch of 1 become files for any: as the module with `vmap`, in ONNX Runtime too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxla
from support.exporters import FILES, cells
from support.real_models import FURTHER, LISTED
from support.small_models import header, make

pytestmark = pytest.mark.quickly

RNG = np.random.default_rng(0)
BATCHES = (1, 2, 5)


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


LSTM = {"w": f32(1, 12, 6), "r": f32(1, 12, 3), "h": f32(1, 1, 3), "c": f32(1, 1, 3)}
LOOP = """t = Constant <value = bool {1}> () m = Constant <value = int64 {3}> ()
    y = Loop (m, t, s) <body = body (int64 i, bool on, float[1, 6] a) => (bool go, float[1, 6] b)
        { go = Identity (on) p = ReduceSum <keepdims = 0> (x, k) b = Add (a, p) }>"""

# Nodes from x, float[1, 4, 6], to y, with tensors.
FREED: dict[str, tuple[str, Mapping[str, np.ndarray]]] = {
    "flat": ("y = Reshape (x, s)", {"s": i64(1, -1)}),
    "known sizes": ("a = Reshape (x, s) y = Relu (a)", {"s": i64(1, 2, 12)}),
    "rows": ("a = Reshape (x, s) b = MatMul (a, w) y = Reshape (b, t)",
             {"s": i64(4, 6), "t": i64(1, 4, 5), "w": f32(6, 5)}),
    "heads": ("""a = Reshape (x, s) b = Transpose <perm = [0, 2, 1, 3]> (a) c = Reshape (b, t)
        d = Transpose <perm = [0, 2, 1]> (c) e = MatMul (c, d) f = Softmax <axis = -1> (e)
        g = MatMul (f, c) h = Reshape (g, u) i = Transpose <perm = [0, 2, 1, 3]> (h)
        y = Reshape (i, v)""",
        {"s": i64(1, 4, 2, 3), "t": i64(2, 4, 3), "u": i64(1, 2, 4, 3), "v": i64(1, 4, 6)}),
    "windows": ("""a = Reshape (x, s) b = Transpose <perm = [0, 2, 1, 3]> (a) c = Reshape (b, t)
        d = ReduceMax <keepdims = 1> (c, k) e = Sub (c, d) y = Reshape (e, u)""",
        {"s": i64(1, 2, 2, 6), "t": i64(2, 2, 6), "u": i64(1, 2, 2, 6), "k": i64(1)}),
    "steps first": ("""a = Transpose <perm = [1, 0, 2]> (x) b = Reshape (a, s)
        c = MatMul (b, w) d = Reshape (c, t) y = Transpose <perm = [1, 0, 2]> (d)""",
        {"s": i64(4, 6), "t": i64(4, 1, 5), "w": f32(6, 5)}),
    "class token": ("y = Concat <axis = 1> (token, x)", {"token": f32(1, 1, 6)}),
    "expanded token": ("a = Expand (token, s) y = Concat <axis = 1> (a, x)",
                       {"token": f32(1, 1, 6), "s": i64(1, 1, 6)}),
    "made of a shape": ("""a = ConstantOfShape <value = float[1] {2}> (s)
        y = Concat <axis = -2> (x, a)""", {"s": i64(1, 2, 6)}),
    "positions": ("""a = Range (o, n, d) b = Gather (table, a) c = Unsqueeze (b, z)
        y = Add (x, c)""", {"o": np.int64(0), "n": np.int64(4), "d": np.int64(1),
                            "table": f32(9, 6), "z": i64(0)}),
    "mask": ("y = Where (mask, x, low)",
             {"mask": np.tri(4, 6)[None] > 0, "low": np.float32([-9])}),
    "lstm": ("""a = Transpose <perm = [1, 0, 2]> (x)
        b, n, o = LSTM <hidden_size = 3> (a, w, r, , l, h, c) d = Squeeze (b, k)
        y = Transpose <perm = [1, 0, 2]> (d)""",
        {**LSTM, "k": i64(1), "l": np.int32([3])}),
    "gru": ("""a = Transpose <perm = [1, 0, 2]> (x)
        b, c = GRU <hidden_size = 3> (a, w, r, , , h) y = Reshape (c, s)""",
        {"w": f32(1, 9, 6), "r": f32(1, 9, 3), "h": f32(1, 1, 3), "s": i64(1, 3)}),
    "tiles": ("y = Tile (x, s)", {"s": i64(1, 2, 1)}),
    "sizes": ("a = Unsqueeze (x, k) y = Resize (a, , , s)", {"k": i64(1), "s": i64(1, 1, 8, 9)}),
    "squeezed": ("a = Squeeze (x, k) b = Relu (a) y = Unsqueeze (b, k)", {"k": i64(0)}),
    "all squeezed": ("a = Squeeze (x) b = Relu (a) y = Reshape (b, s)", {"s": i64(1, 4, 6)}),
    "first of one": ("a = Gather <axis = 0> (x, i) b = Relu (a) y = Reshape (b, s)",
                     {"i": np.int64(0), "s": i64(1, 24)}),
    "slice of one": ("y = Slice (x, a, b, c)", {"a": i64(0), "b": i64(1), "c": i64(0)}),
    "one part": ("a = Split <axis = 0, num_outputs = 1> (x) y = Relu (a)", {}),
    "flattened": ("y = Flatten <axis = 0> (x)", {}),
    "own arithmetic": ("""a = Shape <start = 0, end = 1> (x) b = Concat <axis = 0> (a, s)
        y = Reshape (x, b)""", {"s": i64(24)}),
    "computed shape": ("""a = Shape <start = 1, end = 2> (x) b = Concat <axis = 0> (o, a, s)
        y = Reshape (x, b)""", {"o": i64(1), "s": i64(2, 3)}),
    "grid": ("a = Unsqueeze (x, k) y = GridSample (a, grid)",
             {"k": i64(1), "grid": RNG.uniform(-1, 1, (1, 2, 3, 2)).astype(np.float32)}),
    "gathered": ("y = GatherElements <axis = 2> (x, i)", {"i": RNG.integers(0, 6, (1, 4, 2))}),
    "scattered": ("""a = ReduceSum <keepdims = 1> (x, k)
        y = ScatterElements <axis = 2> (x, i, a)""",
        {"k": i64(2), "i": RNG.integers(0, 6, (1, 4, 1))}),
    "gemm": ("a = ReduceSum <keepdims = 0> (x, k) y = Gemm (one, w, a)",
             {"k": i64(1), "one": f32(1, 3), "w": f32(3, 6)}),
    "reversed": ("y = ReverseSequence <batch_axis = 0, time_axis = 1> (x, l)", {"l": i64(2)}),
    "loop": (LOOP, {"s": f32(1, 6), "k": i64(1)}),
    "function": ("y = f.own (x)", {}),
}  # fmt: skip
OWN = ' <domain: "f", opset_import: ["": 20]> own (a) => (b) { c = Relu (a) b = Neg (c) }'

# As above, with what the message says.
REFUSED: dict[str, tuple[str, Mapping[str, np.ndarray], str]] = {
    "mean of the batch": ("y = ReduceMean (x, k)", {"k": i64(0)}, "ReduceMean.*takes the elements"),
    "softmax": ("y = Softmax <axis = 0> (x)", {}, "Softmax.*it mixes them"),
    "sum along": ("y = CumSum (x, k)", {"k": np.int64(0)}, "CumSum.*it mixes them"),
    "gram": ("""a = Reshape (x, s) b = Transpose (a) y = MatMul (a, b)""",
             {"s": i64(1, 24)}, "MatMul.*makes"),
    "contracted": ("""a = Reshape (x, s) b = Transpose (a) y = MatMul (b, a)""",
                   {"s": i64(1, 24)}, "MatMul.*takes the elements"),
    "no axis left": ("a = ReduceMax <keepdims = 0> (x, k) y = Squeeze (a)", {"k": i64(1, 2)},
                     "Squeeze.*takes the elements|Squeeze.*makes"),
    "shared axis": ("y = Squeeze (x, k)", {"k": i64(0)}, "output 'y'"),
    "batch statistics": ("""y, m, v = BatchNormalization <training_mode = 1> (x, g, g, g, g)""",
                         {"g": np.ones(4, np.float32)}, "BatchNormalization(.|\n)*inference"),
    "a decision": ("""a = ReduceSum <keepdims = 0> (x) b = Greater (a, z) y = If (b)
        <then_branch = t () => (float[1, 4, 6] p) { p = Relu (x) },
         else_branch = e () => (float[1, 4, 6] q) { q = Neg (x) }>""",
        {"z": np.float32(0)}, "takes the elements|each element of a batch decides"),
    "a sequence": ("""a = SplitToSequence <axis = 1> (x)
        y = ConcatFromSequence <axis = 1> (a)""", {}, "makes a sequence"),
}  # fmt: skip


def small(nodes: str, tensors: Mapping[str, np.ndarray], x: str = "float[1, 4, 6] x") -> bytes:
    """A model of these nodes that states the shape of its output."""
    imports = '<ir_version: 9, opset_import: ["": 20, "f": 1]>'
    text = f"{imports} m ({x}) => (float y) {{ {nodes} }}"
    model = onnx.load_from_string(make(text + (OWN if "f.own" in nodes else ""), **tensors))
    shape = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output[0]
    model.graph.output[0].CopyFrom(shape)
    return model.SerializeToString()


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Its own optimizer cannot read some files that it wrote.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compare(
    module: onnxla.Module,
    free: onnxla.Module,
    feeds: Any,
    path: Path,
    axes: Mapping[str, int | None] | None = None,
    check: bool = True,
) -> None:
    """The freed file in ONNX Runtime is `batched()`; `feeds(i)` is the i-th element's input."""
    axes = axes or {}
    free.save(path)
    if check:
        onnx.checker.check_model(onnx.load(path), full_check=True)
    running, batched = session(path), module.batched()
    for n in BATCHES:
        elements = [feeds(i) for i in range(n)]
        one = {name: np.stack([each[name] for each in elements]) for name in elements[0]}
        rows = {
            name: value[0]
            if value[0].ndim == 0 or axes.get(name, 0) is None
            else np.concatenate([*value], axes.get(name, 0))
            for name, value in one.items()
        }
        found = running.run(None, rows)
        for output, value, expected in zip(
            running.get_outputs(), found, batched.run(one).values(), strict=True
        ):
            (axis,) = [i for i, size in enumerate(output.shape) if size == "batch"] or [None]
            assert axis is not None, f"{output.name} states {output.shape}"
            expected = np.concatenate([*np.asarray(expected)], axis)
            assert value.shape == expected.shape
            size = np.abs(expected).max()
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4 * size)


@pytest.mark.parametrize("kind", FREED)
def test_a_file_for_one_becomes_a_file_for_any(kind: str, tmp_path: Path) -> None:
    module = onnxla.load(small(*FREED[kind]))
    free = module.free_batch()
    assert set(free.params) == set(module.params)
    assert free.program.inputs[0].type.shape == ("batch", 4, 6)
    values = f32(5, 1, 4, 6)
    compare(module, free, lambda i: {"x": values[i]}, tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", REFUSED)
def test_what_stands_against_it_is_named(kind: str) -> None:
    nodes, tensors, says = REFUSED[kind]
    with pytest.raises(onnxla.ir.UnsupportedError, match=f"cannot be freed(.|\n)*({says})"):
        onnxla.load(small(nodes, tensors)).free_batch()


def test_all_that_stands_against_it_is_named_at_once() -> None:
    nodes = """a = Softmax <axis = 0> (x) b = ReduceMean <keepdims = 1> (x, k) c = Relu (a)
        d = CumSum (c, z) e = Add (d, b) y = Add (x, e)"""
    module = onnxla.load(small(nodes, {"k": i64(0), "z": np.int64(0)}))
    with pytest.raises(onnxla.ir.UnsupportedError) as raised:
        module.free_batch()
    named = [line.split()[0] for line in str(raised.value).splitlines()[1:]]
    assert sorted(named) == ["CumSum", "ReduceMean", "Softmax"]


def test_inputs_are_named_and_a_scalar_has_no_batch() -> None:
    text = """ m (float[1, 6] x, float[1, 2, 3] state, float rate) => (float[1, 6] y) {
        a = Reshape (state, s) b = Mul (a, rate) y = Add (b, x) }"""
    module = onnxla.load(make(header() + text, s=i64(1, 6)))
    with pytest.raises(ValueError, match="no input is named 'stat'"):
        module.free_batch(inputs={"stat": 1})
    with pytest.raises(ValueError, match="has no axis 2"):
        module.free_batch(inputs={"x": 2})
    free = module.free_batch("many")
    assert [v.type.shape for v in free.program.inputs] == [("many", 6), ("many", 2, 3), ()]
    assert free.program.model.graph.outputs[0].type.shape == ("many", 6)


def test_a_batch_on_another_axis(tmp_path: Path) -> None:
    text = """ m (float[2, 1, 3] x, float[2, 3] same) => (float[1, 6] y) {
        a = Unsqueeze (same, k) b = Add (x, a) c = Transpose <perm = [1, 0, 2]> (b)
        y = Reshape (c, s) }"""
    module = onnxla.load(make(header() + text, k=i64(1), s=i64(1, 6)))
    with pytest.raises(onnxla.ir.UnsupportedError, match=r"'x' .* has 2 elements along axis 0"):
        module.free_batch()
    axes = {"x": 1, "same": None}
    free = module.free_batch(inputs=axes)
    values, same = f32(5, 2, 1, 3), f32(2, 3)
    compare(module, free, lambda i: {"x": values[i], "same": same}, tmp_path / "m.onnx", axes)


def test_other_sizes_may_be_open(tmp_path: Path) -> None:
    text = """ m (float[1, S, 6] x) => (float[1, S, 6] y) { a = Reshape (x, s) b = Relu (a)
        c = Shape <start = 1, end = 2> (x) d = Concat <axis = 0> (one, c, six)
        y = Reshape (b, d) }"""
    module = onnxla.load(make(header() + text, s=i64(1, -1, 2, 3), one=i64(1), six=i64(6)))
    free = module.free_batch()
    (output,) = free.program.model.graph.outputs
    assert output.type.shape == ("batch", "S", 6)
    values = f32(5, 1, 7, 6)
    compare(module, free, lambda i: {"x": values[i]}, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="axis 1 of input 'x' is called 'S'"):
        module.free_batch("S")


def test_another_fixed_batch_is_refused() -> None:
    module = onnxla.load(small("y = Relu (x)", {}, "float[4, 6] x"))
    with pytest.raises(onnxla.ir.UnsupportedError, match=r"\[4, 6\] has 4 elements"):
        module.free_batch()


def test_save_writes_what_was_trained(tmp_path: Path) -> None:
    nodes, tensors = FREED["lstm"]
    module, path = onnxla.load(small(nodes, tensors)), tmp_path / "m.onnx"
    module = module.replace({"w": module.params["w"] * 2})
    module.save(path, batch="dynamic", check=True)
    again = onnxla.load(path)
    np.testing.assert_array_equal(again.params["w"], module.params["w"])
    x = f32(3, 1, 4, 6)
    np.testing.assert_allclose(again(x[:, 0]), module.batched()(x)[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match="'static'"):
        module.save(path, batch="static")
    refused = onnxla.load(small("y = Softmax <axis = 0> (x)", {}))
    before = path.read_bytes()
    with pytest.raises(onnxla.ir.UnsupportedError, match="Softmax"):
        refused.save(path, batch="dynamic")
    assert path.read_bytes() == before


def fixed(cell: str, folder: Path) -> Path:
    """An exporter's file for a batch of 1, what follows from that computed by ONNX Runtime."""
    model = onnx.load(FILES / f"{cell}.onnx")
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in constants:
            size = value.type.tensor_type.shape.dim[0]
            size.Clear()
            size.dim_value = 1
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "fixed.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return folder / "fixed.onnx"


def refusal(cell: str) -> str | None:
    """Why an exporter's file has no free batch."""
    if cell.endswith("/clip"):
        return "MatMul .* makes|BatchNormalization"  # it compares each image with each text
    return "makes a sequence" if cell == "torch-export-unoptimized/mamba" else None


# One file of each framework's networks: its exporters write them for a batch of 1 much alike.
NETWORKS = {(cell.partition("-")[0], cell.partition("/")[2]): cell for cell in cells()}
NETWORKS["torch", "mamba"] = "torch-export-unoptimized/mamba"


@pytest.mark.one_in(12)
@pytest.mark.filterwarnings("ignore")  # what is merged or folded is told while loading
@pytest.mark.parametrize("cell", NETWORKS.values())
def test_exported_networks(cell: str, tmp_path: Path) -> None:
    module = onnxla.load(fixed(cell, tmp_path)).inference()
    if says := refusal(cell):
        with pytest.raises(onnxla.ir.UnsupportedError, match=says):
            module.free_batch()
        return
    rng = np.random.default_rng(0)

    def feeds(index: int) -> dict[str, np.ndarray]:
        given = {}
        for value in module.program.inputs:
            shape, dtype = value.type.shape, value.type.dtype
            drawn = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
            given[value.name] = drawn.astype(dtype)
        return given

    compare(module, module.free_batch(), feeds, tmp_path / "free.onnx")


# Real models whose files fix the batch, with the axis of the batch where it is not the first.
REAL: dict[str, Mapping[str, int | None]] = {
    "ddddocr/common": {},
    "ddddocr/common_det": {},
    "deepfilternet/df_dec": {},
    "deepfilternet/enc": {},
    "deepfilternet/erb_dec": {},
    "openwakeword/timer": {},
    "silero_vad/openvino_16k": {"state": 1},
    "light/resnet50": {},
    "light/shufflenet": {},
    "light/squeezenet": {},
}
REAL_REFUSED: dict[str, tuple[Mapping[str, int | None], str]] = {
    "openwakeword/hey_jarvis": ({}, "If 'If_32' .* each element of a batch decides"),
    # Its frames are the steps of a recurrent network: no input has several recordings.
    "silero_vad/16k_sequence": ({"input": None, "h": 1, "c": 1}, "output 'speech_probs'"),
}
SHORT = {"deepfilternet/df_dec", "openwakeword/timer", "light/squeezenet"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SHORT else pytest.mark.more) for n in REAL]
)
def test_real_models(name: str, tmp_path: Path) -> None:
    model = {**LISTED, **FURTHER}[name]
    module = onnxla.load(model.load())
    free = module.free_batch(inputs=REAL[name])
    # The wheel's architectures do not state their weights as inputs, as their version asks for.
    check = not name.startswith("light/")
    size = model.sizes[0]
    compare(
        module, free, lambda i: model.feeds(size, i), tmp_path / "m.onnx", REAL[name], check=check
    )


@pytest.mark.parametrize("name", REAL_REFUSED)
def test_real_models_that_are_refused(name: str) -> None:
    axes, says = REAL_REFUSED[name]
    module = onnxla.load({**LISTED, **FURTHER}[name].load())
    with pytest.raises(onnxla.ir.UnsupportedError, match=says):
        module.free_batch(inputs=axes)
