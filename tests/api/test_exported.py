"""Exported programs: one for all sizes and platforms, which JAX runs without onnxla."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
import pytest
from onnx import TensorProto, helper

import onnxla
from onnxla import exporting
from onnxla.exported_shapes import check_shapes
from onnxla.peers.difference import Tolerance, difference
from onnxla.peers.onnx_runtime import OnnxRuntime
from support.decoders import Sizes, grouped, packed
from support.real_models import FURTHER, LISTED, RealModel
from support.small_models import graph, header, linear, make

FILES = Path(__file__).parents[1] / "exporters" / "files"
REAL = {**LISTED, **FURTHER}
# Options of real models whose sizes are not all free.
OPTIONS: dict[str, dict[str, Any]] = {
    "magika": {},
    "basic_pitch": {},
    "silero_vad/16k_sequence": {},
    "silero_vad/16k_op15": {"shapes": {"sequence": 576}},
    "deepfilternet/erb_dec": {},
    "openwakeword/melspectrogram": {"constraints": ["samples >= 512"]},
    "openwakeword/embedding": {},
}
WRITTEN = ["torch-export/bert", "torch-script/gpt", "torch-export/unet", "keras-export/attention"]
SHOWN = ["magika", "deepfilternet/erb_dec", "openwakeword/melspectrogram", "torch-export/unet"]
THEIRS = OnnxRuntime(optimized=True, threads=1)
TOLERANCE = Tolerance(relative=1e-3, scaled=1e-4, absolute=1e-10)

# Runs what is in a folder, with JAX alone.
ALONE = """
import pathlib, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "onnxla":
            raise ImportError("onnxla is not to be imported")

sys.meta_path.insert(0, Refused())
import jax, jax.export, numpy as np

jax.config.update("jax_enable_x64", True)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.stablehlo")):
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    for given in sorted(path.parent.glob(f"{path.stem}.*.in.npz")):
        outputs = program.call(dict(np.load(given)))
        np.savez(str(given).replace(".in.npz", ".out.npz"), **outputs)
assert not any(name.partition(".")[0] == "onnxla" for name in sys.modules)
"""


def written(name: str) -> RealModel:
    """A file that an exporter wrote, as a real model is described."""
    path = FILES / f"{name}.onnx"
    inputs = onnxla.load(path).program.inputs
    shapes = {v.name: [v.type.shape, v.type.dtype] for v in inputs}

    def feeds(n: int) -> Mapping[str, np.ndarray]:
        rng = np.random.default_rng(n)
        found = {}
        for key, (shape, dtype) in shapes.items():
            most = 2 if dtype.kind in "iu" else 4  # rows of the smallest table of an embedding
            drawn = rng.uniform(0, most, [s if isinstance(s, int) else n for s in shape])
            found[key] = drawn.astype(dtype)
        return found

    return RealModel(path.read_bytes, lambda n: {}, (2, 5), feeds)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(SHOWN, id="a few"),
        pytest.param([*{*OPTIONS, *WRITTEN} - {*SHOWN}], id="others", marks=pytest.mark.more),
    ],
)
def test_the_same_without_onnxla_at_two_sizes(names: list[str], tmp_path: Path) -> None:
    """As in ONNX Runtime, in a process of its own."""
    expected = {}
    for number, name in enumerate(sorted(names)):
        model = REAL[name] if name in REAL else written(name)
        data = model.load()
        module = onnxla.load(data)
        module.export_stablehlo(tmp_path / f"{number}.stablehlo", **OPTIONS.get(name, {}))
        for size in model.sizes:
            feeds = model.feeds(size)
            np.savez(tmp_path / f"{number}.{size}.in.npz", **feeds)
            outputs = dict(zip(module.output_names, THEIRS.run(data, feeds), strict=True))
            expected[name, size] = tmp_path / f"{number}.{size}.out.npz", outputs
    subprocess.run([sys.executable, "-c", ALONE, str(tmp_path)], check=True, timeout=300)
    assert len(expected) == 2 * len(names)
    for path, outputs in expected.values():
        with np.load(path) as file:
            got = [file[key] for key in outputs]
        found = difference(got, [*outputs.values()], TOLERANCE)
        assert found.ok, found


def two() -> onnxla.Module:
    """Two inputs of which one is int64, in no alphabetical order, and two outputs."""
    text = """ m (float[batch, 3] x, int64[batch] ids) => (float[batch, 2] z, int64[batch] a) {
        h = MatMul (x, w)
        rows = Gather (table, ids)
        z = Add (h, rows)
        a = Add (ids, one)
    }"""
    rng = np.random.default_rng(0)
    tensors = {"w": rng.standard_normal((3, 2)), "table": rng.standard_normal((5, 2))}
    weights = {name: value.astype(np.float32) for name, value in tensors.items()}
    return onnxla.load(make(header() + text, one=np.array(1), **weights))


def inputs(n: int) -> dict[str, np.ndarray]:
    """What `two` takes."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 3)).astype(np.float32)
    return {"x": x, "ids": rng.integers(0, 5, n)}


def exported(module: onnxla.Module, path: Path, **options: Any) -> onnxla.Exported:
    """A module that was written and read."""
    module.export_stablehlo(path / "model.stablehlo", **options)
    return onnxla.load_exported(path / "model.stablehlo")


def test_is_called_as_a_module_is(tmp_path: Path) -> None:
    module = two()
    program = exported(module, tmp_path)
    assert program.input_names == ("x", "ids")
    assert program.output_names == ("z", "a")
    assert [str(v.shape) for v in program.inputs.values()] == ["(batch, 3)", "(batch,)"]
    assert program.outputs["a"].dtype == np.int64
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert repr(program) == (
        "Exported(x: float32[batch, 3], ids: int64[batch]) -> (z, a), for cpu, cuda, tpu"
    )
    given = inputs(4)
    expected = module(**given)
    for got in (program(given["x"], given["ids"]), program(given), program(**given)):
        assert got[1].dtype == np.int64
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, 1e-6)
    narrow = program(given["x"].astype(np.float64), given["ids"].astype(np.int32))
    np.testing.assert_allclose(narrow[0], expected[0], 1e-6)
    inside = jax.jit(lambda x: program(x, given["ids"])[0])(given["x"])
    np.testing.assert_allclose(inside, expected[0], 1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ids": None}, TypeError, "missing inputs: ids"),
        ({"y": np.ones(2)}, TypeError, "no input is named 'y'; there are"),
        ({"ids": np.ones(4, np.float32)}, TypeError, "'ids' takes int64, got float32"),
        ({"x": "text"}, TypeError, "input 'x' is no array of numbers: 'text'"),
        ({"x": np.ones(4, np.float32)}, ValueError, r"'x' has the shape \[4\],.*: it has 2 axes"),
        (
            {"x": np.ones((4, 2), np.float32)},
            ValueError,
            r"'x' has the shape \[4, 2\], and the program takes \[batch, 3\]: axis 1 is 3.*shapes=",
        ),
        (
            {"ids": np.zeros(3, np.int64)},
            ValueError,
            r"'ids' has the shape \[3\],.*: axis 0 is 4, as batch is 4 in 'x'",
        ),
        ({"x": np.ones((0, 3), np.float32)}, ValueError, "no batch of at least 1 makes axis 0 0"),
    ],
    ids=["missing", "unknown", "dtype", "text", "rank", "size", "unequal sizes", "empty"],
)
def test_wrong_inputs_are_told(
    change: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    program = exported(two(), tmp_path, platforms="cpu")
    given = {k: v for k, v in {**inputs(4), **change}.items() if v is not None}
    with pytest.raises(error, match=message):
        program(given)


def test_further_mistakes_in_a_call(tmp_path: Path) -> None:
    program = exported(two(), tmp_path, platforms="cpu")
    given = inputs(4)
    with pytest.raises(TypeError, match="takes x, ids, got 3 values"):
        program(*given.values(), 1)
    with pytest.raises(TypeError, match="params is no argument of this program"):
        program(given, params={})
    with pytest.raises(TypeError, match="key is no argument of this program"):
        program(given, key=jax.random.key(0))
    for_tpu = exported(two(), tmp_path, platforms="tpu")
    with pytest.raises(ValueError, match=r"exported for tpu, and is used on cpu: .* platforms="):
        for_tpu(given)
    with pytest.raises(TypeError, match="run takes a dict of x, ids, got list"):
        program.run([*given.values()])  # type: ignore[arg-type]


def test_gradients_by_inputs_and_by_parameters(tmp_path: Path) -> None:
    module, given = two(), inputs(4)
    program = exported(module, tmp_path, params="argument", vjp_order=1, platforms="cpu")
    assert program.params is not None
    assert program.params.keys() == module.params.keys()

    def loss(params: Any, x: Any) -> Any:
        return (program(x, given["ids"], params=params)[0] ** 2).sum()

    def same(params: Any, x: Any) -> Any:
        return (module.apply(params, x, given["ids"])[0] ** 2).sum()

    got = jax.grad(loss, (0, 1))(module.params, given["x"])
    expected = jax.grad(same, (0, 1))(module.params, given["x"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5), got, expected)
    with pytest.raises(TypeError, match="params is missing"):
        program(given)
    without = exported(module, tmp_path, platforms="cpu")
    with pytest.raises(ValueError, match=r"without this gradient: .* vjp_order=1"):
        jax.grad(lambda x: without(x, given["ids"])[0].sum())(given["x"])

    def again(x: Any) -> Any:
        own = dict(module.params)
        return jax.grad(lambda x: (program(x, given["ids"], params=own)[0] ** 2).sum())(x).sum()

    with pytest.raises(ValueError, match="or 2 for the gradient of a gradient"):
        jax.grad(again)(given["x"])
    with pytest.raises(ValueError, match=r"parameter 'w' has the shape \[1\]"):
        program(given, params={**module.params, "w": np.ones(1, np.float32)})


def noise() -> onnxla.Module:
    """A model that draws random numbers."""
    text = (
        " m (float[batch, 3] x) => (float[batch, 3] y) { n = RandomNormalLike (x) y = Add (x, n) }"
    )
    return onnxla.load(make(header() + text))


def test_random_numbers_are_of_the_key_that_is_given(tmp_path: Path) -> None:
    module, x, key = noise(), np.zeros((4, 3), np.float32), jax.random.key(3)
    expected = module(x, key=key)
    fixed = exported(module, tmp_path, key=key, platforms="cpu")
    np.testing.assert_array_equal(fixed(x), expected)
    free = exported(module, tmp_path, key="argument", platforms="cpu")
    np.testing.assert_array_equal(free(x, key=key), expected)
    np.testing.assert_array_equal(free(x, key=jax.random.key_data(key)), expected)
    assert not np.array_equal(free(x, key=jax.random.key(4)), expected)
    with pytest.raises(ValueError, match="draws random numbers; pass key"):
        exported(module, tmp_path)
    with pytest.raises(TypeError, match="key is missing"):
        free(x)


def test_random_numbers_of_each_element_of_a_batch(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomUniformLike", ["x"], ["r"]),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    model = graph(nodes, {"x": (TensorProto.FLOAT, [1, 3])}, ["y"])
    module, key = onnxla.load(model).batched(), jax.random.key(3)
    free = exported(module, tmp_path, key="argument", platforms="cpu")
    for size in (1, 4):
        x = np.zeros((size, 1, 3), np.float32)
        found = np.asarray(free(x, key=key))
        np.testing.assert_array_equal(found, module(x, key=key))
        assert len(np.unique(found)) == 3 * size


def test_shapes_and_constraints(tmp_path: Path) -> None:
    module = two()
    fixed = exported(module, tmp_path, shapes={"batch": 2}, platforms="cpu")
    assert fixed.inputs["ids"].shape == (2,)
    even = exported(module, tmp_path, shapes={"batch": "2*half"}, platforms="cpu")
    assert str(even.inputs["x"].shape) == "(2*half, 3)"
    assert even(inputs(4))[0].shape == (4, 2)
    with pytest.raises(ValueError, match="no half of at least 1 makes axis 0 5"):
        even(inputs(5))
    whole = exported(module, tmp_path, shapes={"x": ["b", 3], "ids": ["b"]}, platforms="cpu")
    assert str(whole.inputs["ids"].shape) == "(b,)"
    many = exported(module, tmp_path, constraints=["batch >= 3"], platforms="cpu")
    assert many(inputs(3))[0].shape == (3, 2)
    with pytest.raises(ValueError, match="is for batch >= 3, and there is batch=2 in 'x'"):
        many(inputs(2))
    batched = exported(onnxla.load(linear()).batched(), tmp_path, platforms="cpu")
    assert str(batched.inputs["x"].shape) == "(batch, N, 3)"
    assert batched(np.ones((2, 4, 3), np.float32)).shape == (2, 4, 2)


def test_names_of_sizes_become_symbols(tmp_path: Path) -> None:
    """A file may call a size anything; unnamed ones and `?` are each a size of its own."""
    kind = TensorProto.FLOAT
    names = {"a.b": ["max", None], "c": ["a b", "?"], "d": ["?", "a b"], "e": ["1", "max"]}
    nodes = [helper.make_node("Relu", [name], [f"{name}_"]) for name in names]
    data = graph(nodes, {k: (kind, v) for k, v in names.items()}, [f"{k}_" for k in names])
    program = exported(onnxla.load(data), tmp_path, shapes={"a b": "a_b"}, platforms="cpu")
    assert {k: str(v.shape) for k, v in program.inputs.items()} == {
        "a.b": "(n_max, a_b_1)",
        "c": "(a_b, c_1)",
        "d": "(d_0, a_b)",
        "e": "(n_1, n_max)",
    }


MISTAKES = {
    "size": ({"shapes": {"length": 3}}, ValueError, "no size is named 'length'; there "),
    "input": ({"shapes": {"y": [3, 3]}}, ValueError, "no input is named 'y'; there are"),
    "expression": ({"shapes": {"batch": "2+*"}}, ValueError, r"shape \(2\+\*, 3\) of input 'x'"),
    "another shape": ({"shapes": {"x": ["b", 4]}}, ValueError, r"'x' takes shape \[.*, 3\]"),
    "params": ({"params": "baked"}, ValueError, "params is one of 'constants'.*, got 'baked'"),
    "key": ({"key": "free"}, ValueError, "key is a key, as .* or 'argument', got 'free'"),
    "platform": ({"platforms": "gpu"}, ValueError, "no platform is named 'gpu'; did"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_arguments_are_told(name: str, tmp_path: Path) -> None:
    options, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        two().export_stablehlo(tmp_path / "model.stablehlo", **options)
    assert not [*tmp_path.iterdir()]


def test_too_many_constants_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "LARGEST", 50)
    with pytest.raises(onnxla.UnsupportedError, match=r'64 bytes.*params="argument"'):
        exported(two(), tmp_path)
    assert exported(two(), tmp_path, params="argument", platforms="cpu").params


# Bodies from x [N, L] to y, and what the error says.
REFUSED = {
    "unequal": ("t = Transpose (x) y = Add (x, t)", ["Add", "L, N", 'shapes={"N": 64}']),
    "squeezed": ("y = Squeeze (x, one)", ["Squeeze", "shapes={", '"N": 64', "equal one symbol"]),
    "data": ("y = NonZero (x)", ["NonZero", "concrete values"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_named_with_a_way_out(name: str, tmp_path: Path) -> None:
    body, words = REFUSED[name]
    text = f"{header()} m (float[N, L] x) => (float[A, B] y) {{ {body} }}"
    used = {"one": np.array([1])} if "one" in body else {}
    module = onnxla.load(make(text, **used))
    with pytest.raises(onnxla.OnnxlaError) as found:
        exported(module, tmp_path)
    for word in words:
        assert word in str(found.value)


def test_the_way_out_is_one(tmp_path: Path) -> None:
    text = f"{header()} m (float[N, L] x) => (float[A, B] y) {{ t = Transpose (x) y = Add (x, t) }}"
    program = exported(onnxla.load(make(text)), tmp_path, shapes={"x": ["n", "n"]}, platforms="cpu")
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    np.testing.assert_array_equal(program(x), x + x.T)


def test_inputs_that_are_no_arrays_of_numbers(tmp_path: Path) -> None:
    texts = make(f"{header()} m (string[N] x) => (string[N] y) {{ y = Identity (x) }}")
    with pytest.raises(onnxla.UnsupportedError, match="input 'x' is no array of numbers"):
        exported(onnxla.load(texts), tmp_path)
    unknown = graph(
        [helper.make_node("Relu", ["x"], ["y"])], {"x": (TensorProto.FLOAT, None)}, ["y"]
    )
    with pytest.raises(onnxla.UnsupportedError, match=r"how many axes input 'x' has: shapes="):
        exported(onnxla.load(unknown), tmp_path)
    program = exported(onnxla.load(unknown), tmp_path, shapes={"x": ["n", 2]}, platforms="cpu")
    assert program(np.ones((3, 2), np.float32)).shape == (3, 2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file."""
    path = tmp_path_factory.mktemp("file") / "model.stablehlo"
    two().export_stablehlo(path, platforms="cpu")
    return path.read_bytes()


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9, 0.98, 0.999])
def test_a_file_that_ends_early_is_refused(part: float, file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.stablehlo"
    path.write_bytes(file[: int(part * len(file))])
    with pytest.raises(onnxla.ModelError, match=r"is no file that|is damaged"):
        onnxla.load_exported(path)


def test_a_file_with_another_byte_is_refused(file: bytes, tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "model.stablehlo"
    for place in [*rng.integers(0, len(file), 60).tolist(), *range(-280, 0, 3)]:
        changed = bytearray(file)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(onnxla.ModelError, match=r"damaged|no file that"):
            onnxla.load_exported(path)


def test_what_jax_cannot_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytearray) -> None:
        raise NotImplementedError("serialization version 99")

    path = tmp_path / "model.stablehlo"
    two().export_stablehlo(path, platforms="cpu")
    monkeypatch.setattr(jax.export, "deserialize", fail)
    with pytest.raises(onnxla.ModelError, match=r"version 99\. Export it again"):
        onnxla.load_exported(path)


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_of_any_length(causal: int, tmp_path: Path) -> None:
    text = f""" m (float[B, 2, S, 4] q, float[B, 2, S, 4] k) => (float[B, 2, S, 4] y) {{
        y = Attention <is_causal = {causal}> (q, k, k)
    }}"""
    module = onnxla.load(make(header(24) + text))
    program = exported(module, tmp_path, platforms="cpu")
    for batch, length in ((1, 3), (2, 5)):
        q, k = np.random.default_rng(0).normal(size=(2, batch, 2, length, 4)).astype(np.float32)
        np.testing.assert_allclose(program(q, k), module(q, k), atol=1e-6)


def fed(module: onnxla.Module, batch: int, **sizes: int) -> dict[str, np.ndarray]:
    """Inputs of a decoder: a mask of ones, positions after the past, and else what is drawn."""
    sizes, rng, found = {"batch": batch, **sizes}, np.random.default_rng(0), {}
    for value in module.program.inputs:
        shape = [n if isinstance(n, int) else sizes[n] for n in value.type.shape]
        drawn = rng.uniform(0, 9, shape) if value.name == "input_ids" else np.ones(shape)
        if value.name == "position_ids":
            drawn = np.broadcast_to(sizes["past"] + np.arange(shape[1]), shape)
        if value.name.startswith("past"):
            drawn = rng.standard_normal(shape)
        found[value.name] = drawn.astype(value.type.dtype)
    return found


@pytest.mark.quickly
@pytest.mark.parametrize(
    ("build", "shapes", "sizes"),
    [
        # A cache that grows, one with room, and one with room for the first tokens.
        pytest.param(grouped, {}, [(2, 3, 5), (1, 8, 4), (4, 8, 4)], id="GroupQueryAttention"),
        pytest.param(packed, {"total": "past + sequence"}, [(2, 3, 5), (1, 4, 5)], id="Attention"),
    ],
)
def test_a_decoder_of_any_length(build: Any, shapes: Any, sizes: Any, tmp_path: Path) -> None:
    """By their sequence, past and total, as a call of the module."""
    module = onnxla.load(build(Sizes(width=64, key_heads=2, layers=1)))
    program = exported(module, tmp_path, shapes=shapes, platforms="cpu")
    for sequence, past, total in sizes:
        given = fed(module, 2, sequence=sequence, past=past, total=total)
        expected = module.run(given)
        for name, value in program.run(given).items():
            np.testing.assert_allclose(value, expected[name], 1e-4, 1e-5)


def test_what_a_mask_is_as_long_as_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(onnxla.UnsupportedError, match=r"Attention 'n12'.*total.*shapes=") as found:
        exported(onnxla.load(packed()), tmp_path)
    assert "_DimExpr" not in str(found.value)


@pytest.mark.parametrize(
    ("taken", "constraints", "fitting", "wrong"),
    [
        (["b", "2*b + 1", "max(b, 4)"], [], [(3, 7, 4), (5, 11, 5)], [(3, 6, 4), (3, 7, 3)]),
        (["floordiv(a, 2)", "a"], ["mod(a, 2) == 0"], [(2, 4)], [(2, 5), (3, 4)]),
        (["a*b", "a", "b"], ["a - b >= -1"], [(6, 2, 3), (8, 4, 2)], [(7, 2, 3), (8, 2, 4)]),
        (["a - 1", "a^2"], [], [(2, 9)], [(2, 8)]),
    ],
)
def test_sizes_of_symbols(taken: Any, constraints: Any, fitting: Any, wrong: Any) -> None:
    """As `jax.export` takes them."""
    shape = jax.export.symbolic_shape(", ".join(taken), constraints=constraints)
    for given in fitting:
        check_shapes("input", {"x": given}, {"x": shape}, constraints)
    for given in wrong:
        with pytest.raises(ValueError, match=r"axis \d is|the program is for"):
            check_shapes("input", {"x": given}, {"x": shape}, constraints)
