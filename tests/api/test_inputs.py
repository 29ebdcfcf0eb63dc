"""Inputs are bound once: by position, by name, or as one dict of names."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import jax
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import onnxla
from onnxla import backend, ir
from onnxla.ir.names import no_such
from support.small_models import header, make

W = np.float32([3])
# Names that parameters of `__call__`, `apply` and `apply_train` have too.
NAMES = ("key", "params", "outputs", "self", "args")
GIVEN = {name: np.float32([i + 1]) for i, name in enumerate(NAMES)}


def reserved() -> onnxla.Module:
    """y = w * (key + 2 params + 4 outputs + 8 self + 16 args)."""
    inputs = ", ".join(f"float[N] {name}" for name in NAMES)
    return onnxla.load(
        make(
            header()
            + f""" m ({inputs}) => (float[N] y)
            <float two = {{2}}> {{
                a = Mul (two, args)   b = Add (a, self)
                c = Mul (two, b)      d = Add (c, outputs)
                e = Mul (two, d)      f = Add (e, params)
                g = Mul (two, f)      h = Add (g, key)
                y = Mul (w, h)
            }}""",
            w=W,
        )
    )


EXPECTED = np.float32([3 * (1 + 2 * 2 + 4 * 3 + 8 * 4 + 16 * 5)])


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m(*GIVEN.values()),
        lambda m: m(GIVEN),
        lambda m: m.run(GIVEN)["y"],
        lambda m: m.apply(m.params, *GIVEN.values()),
        lambda m: m.apply(m.params, GIVEN),
        lambda m: m.apply(m.params, GIVEN, key=jax.random.key(0), outputs=["y"]),
        lambda m: jax.jit(m.apply)(m.params, GIVEN),
        lambda m: m.apply_train(m.params, GIVEN, key=jax.random.key(0))[0],
        lambda m: m.specialize({"self": GIVEN["self"], "key": GIVEN["key"]})(
            {name: GIVEN[name] for name in ("params", "outputs", "args")}
        ),
        lambda m: m.specialize(params=GIVEN["params"])(GIVEN),
        lambda m: backend.Prepared(m, jax.devices()[0]).run(GIVEN)[0],
        lambda m: backend.Prepared(m, jax.devices()[0]).run([*GIVEN.values()])[0],
    ],
)
def test_inputs_with_the_names_of_our_own_parameters(call: Any) -> None:
    np.testing.assert_array_equal(call(reserved()), EXPECTED)


def test_a_model_with_such_inputs_trains() -> None:
    data = {name: np.repeat(value, 4)[:, None] for name, value in GIVEN.items()}
    module = onnxla.load(
        make(
            header()
            + """ m (float[N, 1] key, float[N, 1] params) => (float[N, 1] y) {
                h = MatMul (key, w)
                y = Add (h, params)
            }""",
            w=np.float32([[3]]),
        )
    )
    given = {name: data[name] for name in ("key", "params")}
    for inputs in (given, tuple(given.values())):
        result = onnxla.fit(module, (inputs, data["key"]), "mse", learning_rate=0.1, progress=False)
        assert result.module.params["w"] != module.params["w"]
        assert onnxla.evaluate(module, (inputs, data["key"]), "mse") == {"loss": 16.0}


def test_what_a_saved_file_is_checked_with(tmp_path: Any) -> None:
    module = reserved()
    for inputs in (GIVEN, tuple(GIVEN.values()), True):
        module.save(tmp_path / "saved.onnx", check=inputs)
    with pytest.raises(TypeError, match="missing inputs: outputs, self, args"):
        module.save(tmp_path / "saved.onnx", check=(W, W))


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((GIVEN, W), {}, TypeError, "input 'key' takes float32, got object"),
        ((GIVEN,), {"params": W}, TypeError, "input 'params' is given twice"),
        (({**GIVEN, "arg": W},), {}, TypeError, "no input is named 'arg'; did you mean 'args'?"),
        (({"key": W},), {}, TypeError, "missing inputs: params, outputs, self, args"),
        (({},), {}, TypeError, "missing inputs: key, params, outputs, self, args"),
        ((W,) * 6, {}, TypeError, r"takes 5 inputs \(key, params, .*\), got 6"),
        (
            ({**GIVEN, "self": np.int64([7])},),
            {},
            TypeError,
            r"input 'self' takes float32, got int64 \[7\]",
        ),
        (
            ({**GIVEN, "self": np.arange(9)},),
            {},
            TypeError,
            r"input 'self' takes float32, got int64 of shape \[9\]",
        ),
        (({**GIVEN, "self": "high"},), {}, TypeError, "input 'self' takes float32, got <U4 'high'"),
        (
            ({**GIVEN, "self": np.float32([[7]])},),
            {},
            ValueError,
            r"input 'self' takes shape \[N\], got \[1, 1\]",
        ),
    ],
)
def test_what_is_wrong_is_named(args: Any, kwargs: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        reserved()(*args, **kwargs)


def with_a_map(*others: str) -> onnxla.Module:
    """A vector of the numbers in a map from texts, plus the other inputs."""
    kind = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    name, nodes = "v", []
    vector = helper.make_node(
        "DictVectorizer", ["m"], ["v"], domain="ai.onnx.ml", string_vocabulary=["m", "x"]
    )
    for other in others:
        nodes.append(helper.make_node("Add", [name, other], [f"{name}+{other}"]))
        name = f"{name}+{other}"
    graph = helper.make_graph(
        [vector, *nodes],
        "maps",
        [
            helper.make_value_info("m", kind),
            *(helper.make_tensor_value_info(o, TensorProto.FLOAT, [1, 2]) for o in others),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    return onnxla.load(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def test_a_dict_is_the_first_input_where_that_is_a_map(tmp_path: Any) -> None:
    module = with_a_map()
    table = {"x": 2.0, "m": 1.0}
    expected = onnxruntime.InferenceSession(ir.write(module.to_ir())).run(None, {"m": table})[0]
    for values in (
        module(table),
        module(m=table),
        module.run({"m": table})["v"],
        module.apply(module.params, table),
        module.specialize(m=table)(),
    ):
        np.testing.assert_array_equal(np.asarray(values).reshape(expected.shape), expected)
    module.save(tmp_path / "map.onnx", check=table)
    module.specialize(m=table).save(tmp_path / "map.onnx", check={})
    with pytest.raises(TypeError, match=r"'m' is a map to float32, got \{'m': \{'x': 2.0, .*run\("):
        module({"m": table})


def test_beside_a_map_other_inputs_are_given_in_order_or_by_keyword() -> None:
    module, x = with_a_map("x"), np.ones((1, 2), np.float32)
    expected = np.float32([[2, 3]])
    table = {"m": 1.0, "x": 2.0}
    for values in (module(table, x), module(table, x=x), module.run({"m": table, "x": x})["v+x"]):
        np.testing.assert_array_equal(np.reshape(values, (1, 2)), expected)
    with pytest.raises(
        TypeError, match=r"missing inputs: x; the dict is the value of 'm'.*keyword"
    ):
        module(table)
    with pytest.raises(TypeError, match=r"'m' is a map to float32, got .* give inputs in order"):
        module({"m": table, "x": x})


def test_the_nearest_name_is_suggested() -> None:
    assert no_such("input", "imge", ["image", "mask"]) == (
        "no input is named 'imge'; did you mean 'image'?"
    )
    assert (
        no_such("input", "z", ["image", "mask"]) == "no input is named 'z'; there are image, mask"
    )
    assert no_such("input", "z", []) == "no input is named 'z'; there are none"
    many = [f"value{i}" for i in range(20)]
    assert no_such("value", "q", many).endswith("value6, value7, ...")


def test_names_of_any_length_and_number_are_compared_in_bounded_time() -> None:
    endless = "ab" * 500_000
    assert no_such("value", endless, [endless, "x"]).startswith("no value is named 'abab")
    assert no_such("value", "vlue", [*map(str, range(100_000))]).endswith("6, 7, ...")


EXACT = {
    "Mod": (True, "a = Sub (i, one) y = Mod (a, seven)"),
    "Div": (True, "y = Div (i, seven)"),
    "BitShift": (True, 'u = Cast <to = 13> (i) y = BitShift <direction = "RIGHT"> (u, u)'),
    "BitwiseXor": (True, "m = Mul (i, seven) c = Concat <axis = 0> (m, m) y = BitwiseXor (c, c)"),
    "BitCast": (True, "r = Reshape (i, shape) y = BitCast <to = 11> (r)"),
    "a function": (True, "y = f.hash (i)"),
    "an embedding": (False, "y = Gather (table, i)"),
    "a mask": (False, "f = Cast <to = 1> (i) y = Div (f, half)"),
    "a shape": (False, "s = Shape (i) d = Div (s, s) y = Reshape (i, d)"),
}


@pytest.mark.parametrize("case", EXACT)
def test_integers_of_which_jit_took_half_are_told_where_all_bits_count(case: str) -> None:
    told, nodes = EXACT[case]
    text = f"""<ir_version: 9, opset_import: ["": 26, "f": 1]>
        m (int64[N] i) => (y) {{ {nodes} }}
        <domain: "f", opset_import: ["": 26]> hash (v) => (w) {{
            n = Constant <value_int = 7> () w = Mod (v, n)
        }}"""
    tensors = {"one": 1, "seven": 7, "shape": [-1]}
    floats = {"half": np.float32([0.5]), "table": np.eye(3, dtype=np.float32)}
    data = make(text, **{name: np.int64(number) for name, number in tensors.items()}, **floats)
    module = onnxla.load(data)
    i = np.int64([1])
    module(i)
    with pytest.warns(match="input 'i' .*int32") if told else contextlib.nullcontext():
        jax.jit(module.apply)(module.params, i)
    with jax.enable_x64(True):
        jax.jit(module.apply)(module.params, i)


def weighed() -> onnxla.Module:
    """y = w * (a - b), of any length."""
    text = "m (float[N] a, float[N] b) => (float[N] y) { c = Sub (a, b) y = Mul (w, c) }"
    return onnxla.load(make(header() + text, w=W))


def seen(module: onnxla.Module, *args: Any, **kwargs: Any) -> Any:
    """What a call gives that has the same inputs as the calls before it."""
    values = [module(*args, **kwargs) for _ in range(3)]
    np.testing.assert_array_equal(values[0], values[2])
    assert module.program.last({}, (), {}) is None
    assert not jax.config.jax_enable_x64
    return values[2]


def test_inputs_like_those_before_are_bound_to_the_same_names() -> None:
    module, a, b = weighed(), jax.numpy.float32([1, 2]), np.float32([5, 7])
    for _ in range(2):
        for same in (seen(module, a, b), seen(module, a, b=b), seen(module, b=b, a=a)):
            np.testing.assert_array_equal(same, [-12, -15])
        np.testing.assert_array_equal(seen(module, {"b": b, "a": a}), [-12, -15])
        np.testing.assert_array_equal(seen(module, {"b": a, "a": b}), [12, 15])
        np.testing.assert_array_equal(seen(module, b, a), [12, 15])
        np.testing.assert_array_equal(module.run({"b": a, "a": b})["y"], [12, 15])
        np.testing.assert_array_equal(seen(module, b[:1], a[:1]), [12])
    assert seen(copy.deepcopy(module), a, b).tolist() == [-12, -15]
    other = module.replace({"w": np.float32([1])})
    np.testing.assert_array_equal(other(a, b), [-4, -5])


def test_what_a_call_has_seen_excuses_no_other_inputs() -> None:
    module, a = weighed(), np.float32([1, 2])
    seen(module, a, a)
    with pytest.raises(TypeError, match=r"input 'b' takes float32, got int64 \[1, 2\]"):
        module(a, np.int64([1, 2]))
    with pytest.raises(ValueError, match=r"input 'b' takes shape \[N\], got \[2, 1\]"):
        module(a, a[:, None])
    with pytest.raises(TypeError, match="missing inputs: b"):
        module(a)
    with pytest.raises(TypeError, match="no input is named 'c'"):
        module(a, c=a)
    with pytest.raises(TypeError, match="input 'a' is given twice"):
        module(a, a=a)
    with pytest.raises(TypeError, match="takes 2 inputs"):
        module(a, a, a)
    assert module(a, a.astype(np.float64)).dtype == np.float32  # converted
    assert module(a, [1.0, 2.0]).dtype == np.float32
    assert jax.jit(lambda x: module(a, x))(a).tolist() == [0, 0]
    assert jax.grad(lambda m: m(a, 2 * a).sum())(module).params["w"].tolist() == [-3]
    assert module(a, a, key=jax.random.key(0)).tolist() == [0, 0]


def test_a_value_that_decides_a_shape_is_looked_at_in_each_call() -> None:
    text = "m (float[N] x, int64[1] n) => (float[M] y) { y = Tile (x, n) }"
    module, x = onnxla.load(make(header() + text)), np.float32([1, 2])
    for n in (1, 1, 1, 3, 2, 2):
        assert module(x, np.int64([n])).shape == (2 * n,)


def test_a_call_like_the_one_before_counts_as_a_use_of_its_program() -> None:
    text = "m (float[N] x) => (float[N] y) { y = Add (x, x) }"
    module = onnxla.load(make(header() + text), limits=onnxla.Limits(programs=2))
    first = np.ones(1, np.float32)
    seen(module, first)
    (program,) = module.program.programs.values()
    for size in (2, 3):
        module(np.ones(size, np.float32))
        seen(module, first)
        assert module.program.programs.values()[-1] is program
