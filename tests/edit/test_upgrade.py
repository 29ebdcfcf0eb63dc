"""Models of old opsets in newer ones: the same outputs, parameters and roles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

import onnxla
from onnxla import ir
from onnxla.edit.dropout import strip_dropout
from onnxla.edit.upgrade import DEFAULT_OPSET, NEWEST
from onnxla.edit.upgrade_steps import STEPS
from onnxla.ir.traverse import all_nodes
from onnxla.peers.difference import Tolerance, difference
from onnxla.testing import Case
from onnxla.testing.fault_records import fault_of
from onnxla.testing.known_faults.versions import CONVERTER
from support.backend_suite import cases, expected_failures
from support.real_models import FURTHER, LISTED
from support.sample_models import ROWS, case_at
from support.samples import Sample, samples
from support.small_models import header, make

pytestmark = pytest.mark.quickly

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
# What no newer opset has.
GONE = {
    "LpPool": "p=2.5 is not whole",
    "GlobalLpPool": "p=2.5 is not whole",
    "Resize": "tf_half_pixel_for_nn",
    "BatchNormalization": "BatchNormalization",  # in training, with further outputs
}


def assert_same(
    old: onnxla.Module, new: onnxla.Module, inputs: Mapping[str, Any], tolerance: Tolerance
) -> None:
    """The same roles, and outputs within a tolerance; with a key for random numbers."""
    assert dict(new.roles) == dict(old.roles)
    assert new.input_names == old.input_names
    expected, got = (list(module.run(inputs, KEY).values()) for module in (old, new))
    found = difference(got, expected, tolerance)
    assert found.ok, found


def check_model(model: bytes) -> None:
    onnx.checker.check_model(model, full_check=True)


def is_due(op_type: str, version: int, target: int = DEFAULT_OPSET) -> bool:
    return any(version < v <= target for v in STEPS.get(op_type, ()))


def stepped() -> Iterator[Any]:
    """Each sample at the versions of its operator that a step is due for."""
    for index, sample in enumerate(samples()):
        for version, _ in ROWS[sample.domain, sample.op_type]:
            right = sample.versions is None or version in sample.versions
            if not sample.domain and right and is_due(sample.op_type, version):
                yield pytest.param(sample, version, id=f"{sample.op_type}-{version}-{index}")


@pytest.mark.one_in(8)
@pytest.mark.parametrize(("sample", "version"), [*stepped()])
def test_every_operator_at_every_version(sample: Sample, version: int) -> None:
    case = case_at(sample, version, sample.inputs)
    old = onnxla.load(case.model)
    try:
        new = old.upgrade()
    except onnxla.UnsupportedError as error:
        if GONE.get(sample.op_type, "another") not in str(error):
            raise
        return
    assert new.program.model.opsets[""] == DEFAULT_OPSET
    assert_same(old, new, case.inputs, sample.tolerance)
    compare_with_converter(case, new)


def compare_with_converter(case: Case, new: onnxla.Module) -> None:
    """Compares with what onnx's converter makes, where it makes a model that is right."""
    if fault_of(case, [CONVERTER]):
        return
    try:
        theirs = onnx.version_converter.convert_version(case.proto, DEFAULT_OPSET)
        check_model(theirs.SerializeToString())
    except (RuntimeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return
    if theirs.graph.input == case.proto.graph.input:  # unlike Scan's, which had a batch once
        expected = [*onnxla.load(theirs).run(case.inputs, KEY).values()]
        found = difference([*new.run(case.inputs, KEY).values()], expected, Tolerance(scaled=1e-5))
        assert found.ok, found


def old_cases() -> list[str]:
    found = []
    for name, case in cases().items():
        model = ir.read(case.model)
        old = any(
            not node.domain and is_due(node.op_type, opsets.get("", DEFAULT_OPSET))
            for node, opsets in all_nodes(model)
        )
        found += [name] if old and name not in expected_failures() else []
    return found


@pytest.mark.one_in(16)
@pytest.mark.parametrize("name", old_cases())
def test_backend_cases(name: str) -> None:
    case = cases()[name]
    old = onnxla.load(case.model)
    new = old.upgrade()
    inputs = dict(zip(old.input_names, case.data_sets[0][0], strict=False))
    assert_same(old, new, inputs, Tolerance(relative=case.rtol, absolute=case.atol))
    check_model(ir.write(new.to_ir()))


def test_each_change_in_the_table_has_a_step() -> None:
    same = {("Cast", 24)}  # a rounding mode more
    missing = {
        (name, version)
        for (domain, name), rows in ROWS.items()
        for (_, old), (version, new) in itertools.pairwise(rows)
        if not domain and old is not new and version not in STEPS.get(name, {})
    }
    assert missing == same


@pytest.mark.parametrize("where", ["value_info", "output"])
def test_shapes_that_are_stated_wrongly_are_left_open(where: str) -> None:
    text = " m (float[2, 3] x) => (float[2, 3] y) { a = Reshape (x, s) y = Relu (a) }"
    proto = onnx.load_from_string(make(header(12) + text, s=np.array([6])))
    if where == "value_info":
        proto.graph.output[0].type.tensor_type.ClearField("shape")
        proto.graph.output[0].type.tensor_type.shape.dim.add(dim_value=6)
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info("a", 1, [2, 3]))
    old = onnxla.load(proto)
    new = old.upgrade()
    check_model(ir.write(new.to_ir()))
    assert_same(old, new, {"x": np.ones((2, 3), np.float32)}, Tolerance(scaled=0))


SHOWN = "silero_vad/vad"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == SHOWN else pytest.mark.more)
        for name in (*LISTED, *FURTHER)
    ],
)
def test_real_models(name: str) -> None:
    model = {**LISTED, **FURTHER}[name]
    old = onnxla.load(model.load())
    new, inputs = old.upgrade(), model.feeds(model.sizes[0])
    assert_same(old, new, inputs, Tolerance(scaled=1e-5))
    data = ir.write(new.to_ir())
    onnx.checker.check_model(data, full_check=True)
    theirs = onnxruntime.InferenceSession(data).run(None, inputs)
    found = difference([*new.run(inputs).values()], theirs, Tolerance(relative=1e-3, scaled=1e-3))
    assert found.ok, found


# What edits ask for


def old_convolution(opset: int = 6) -> onnxla.Module:
    """[N, 2, 4, 4] to [N, 3], with the bias of a convolution in a node of its own."""
    text = """ m (float[N, 2, 4, 4] x) => (float[N, 3] y) {
        c = Conv <kernel_shape = [3, 3]> (x, w)
        d = Add <broadcast = 1, axis = 1> (c, b)
        e = PRelu (d, slope)
        f = Clip <max = 6.0> (e)
        g = ReduceMean <axes = [2, 3], keepdims = 0> (f)
        y = Softmax (g)
    }"""
    tensors = {"w": (3, 2, 3, 3), "b": (3,), "slope": (3,)}
    arrays = {name: RNG.standard_normal(size).astype(np.float32) for name, size in tensors.items()}
    return onnxla.load(make(header(opset) + text, **arrays))


X = np.random.default_rng(1).standard_normal((5, 2, 4, 4)).astype(np.float32)


@pytest.mark.parametrize("target", [13, 15, 18, 21, NEWEST])
def test_names_and_roles_stay(target: int) -> None:
    old = old_convolution()
    old = old.replace({"b": old.params["b"] + 1})  # what was trained
    new = old.upgrade(target)
    assert_same(old, new, {"x": X}, Tolerance(scaled=1e-6))
    assert new.program.model.opsets == {"": target}
    assert [n.op_type for n in new.program.model.graph.nodes if n.op_type != "Constant"] == [
        *("Conv", "Unsqueeze", "Add", "Unsqueeze", "PRelu", "Clip", "ReduceMean", "Softmax")
    ]
    check_model(ir.write(new.to_ir()))
    assert new.upgrade(target).program.model is new.program.model


def test_edits_of_old_files_name_it() -> None:
    old = old_convolution()
    for edit in (lambda m: m.lora("w", rank=1), lambda m: m.replace_head("g", 2)):
        with pytest.raises(onnxla.UnsupportedError, match=r"module\.upgrade\(\)"):
            edit(old)
        edit(old.upgrade())(X)


def test_quantization_of_an_old_file_names_it() -> None:
    text = """<ir_version: 9, opset_import: ["" : 9, "com.microsoft" : 1]>
        m (float[N, 3] x) => (float[N, 2] y) {
            d = com.microsoft.DequantizeLinear (w, s, z)
            y = MatMul (x, d)
        }"""
    tensors = {"s": np.float32(0.1), "z": np.int8(0)}
    old = onnxla.load(make(text, w=np.arange(6, dtype=np.int8).reshape(3, 2), **tensors))
    with pytest.raises(onnxla.UnsupportedError, match=r"module\.upgrade\(\)"):
        old.quantization_aware()
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(old.upgrade().quantization_aware()(x), old(x), rtol=1e-6)


@pytest.mark.parametrize("constant", ["s = Constant <value = float[0] {}> ()", ""])
def test_scales_that_are_read_no_more_are_no_parameter(constant: str) -> None:
    text = f""" m (float[1, 1, 2, 2] x) => (float[1, 1, H, W] y) {{
        r = Constant <value = float[0] {{}}> ()
        {constant}
        y = Resize (x, r, s, sizes)
    }}"""
    tensors = {} if constant else {"s": np.zeros(0, np.float32)}
    old = onnxla.load(make(header(12) + text, sizes=np.array([1, 1, 4, 4]), **tensors))
    x = RNG.standard_normal((1, 1, 2, 2)).astype(np.float32)
    assert_same(old, old.upgrade(), {"x": x}, Tolerance())


def test_what_edits_added_can_be_taken_out_again() -> None:
    text = " m (float[N, 3] x) => (float[N, 2] y) { h = MatMul (x, w) y = Softmax (h) }"
    old = onnxla.load(make(header(11) + text, w=np.ones((3, 2), np.float32)))
    new = old.insert_dropout("h").lora("w", rank=1).upgrade()
    bare = strip_dropout(new.merge().program.model)
    assert [node.op_type for node in bare.graph.nodes] == ["MatMul", "Softmax"]


def test_a_model_of_other_domains_alone_gets_the_standard_operators() -> None:
    text = """<ir_version: 9, opset_import: ["com.microsoft" : 1]>
        m (float[N, 3] x) => (float[N, 3] y) { y = com.microsoft.Gelu (x) }"""
    new = onnxla.load(make(text)).upgrade()
    assert new.program.model.opsets == {"com.microsoft": 1, "": DEFAULT_OPSET}
    new.insert_dropout("y")


def test_functions_subgraphs_and_other_domains() -> None:
    text = """<ir_version: 9, opset_import: ["" : 12, "f" : 1, "com.microsoft" : 1]>
        m (float[2, 3] x, bool c) => (float[2, 1, 3] y) {
            a = f.F <along: ints = [1]> (x)
            b = If (c) <then_branch = t () => (float r) { u = Unsqueeze <axes = [0]> (a)
                                                          r = Squeeze <axes = [0]> (u) },
                        else_branch = e () => (float r) { r = com.microsoft.Gelu (a) }>
            y = Softmax <axis = 1> (b)
        }
        <opset_import: ["" : 11], domain: "f"> F <along> (v) => (w) {
            w = Unsqueeze <axes: ints = @along> (v)
        }"""
    old = onnxla.load(make(text))
    new = old.upgrade()
    model = new.program.model
    assert model.opsets == {"": 21, "f": 1, "com.microsoft": 1}
    assert model.functions[0].opsets == {"": 21}
    x = RNG.standard_normal((2, 3)).astype(np.float32)
    for c in (True, False):
        assert_same(old, new, {"x": x, "c": np.array(c)}, Tolerance(scaled=1e-6))
        session = onnxruntime.InferenceSession(ir.write(new.to_ir()))
        theirs = session.run(None, {"x": x, "c": np.array(c)})[0]
        np.testing.assert_allclose(theirs, new(x, np.array(c)), rtol=1e-5)


def test_a_constant_in_the_type_of_a_value_that_is_not_known() -> None:
    text = """<ir_version: 9, opset_import: ["" : 9, "f" : 1]>
        m (float16[3] x) => (float16[3] y) { y = f.F (x) }
        <opset_import: ["" : 9], domain: "f"> F (v) => (w) { w = Clip <max = 0.5> (v) }"""
    old, x = onnxla.load(make(text)), np.float16([-1, 0, 1])
    new = old.upgrade()
    assert_same(old, new, {"x": x}, Tolerance())
    with pytest.raises(onnxla.UnsupportedError, match=r"Clip -> w cannot be upgraded.*opset 15"):
        old.upgrade(13)


def test_resampling_with_computed_scales() -> None:
    """Some axes enlarged and some reduced, by scales that are no constants."""
    text = """ m (float[1, 1, 4, 6] x, float[4] s) => (float[1, 1, H, W] y) {
        y = Upsample <mode = "nearest"> (x, s)
    }"""
    old = onnxla.load(make(header(9) + text))
    inputs = {"x": RNG.standard_normal((1, 1, 4, 6)).astype(np.float32)}
    inputs["s"] = np.float32([1, 1, 1.5, 0.4])
    assert_same(old, old.upgrade(), inputs, Tolerance())


@pytest.mark.parametrize(("opset", "target"), [(17, 13), (17, NEWEST + 1), (17, 0)])
def test_targets_that_there_are_not(opset: int, target: int) -> None:
    module = onnxla.load(make(header(opset) + " m (float[2] x) => (float[2] y) { y = Neg (x) }"))
    with pytest.raises(ValueError, match=rf"opset 17 can be .* to {NEWEST}, not to {target}"):
        module.upgrade(target)


def test_a_newer_model_stays() -> None:
    module = onnxla.load(make(header(22) + " m (float[2] x) => (float[2] y) { y = Neg (x) }"))
    assert module.upgrade().program.model is module.program.model


def test_all_that_cannot_be_upgraded_is_named() -> None:
    text = """ m (float[2, 2] x) => (float[2, 2] y, float[2, 2] z) {
        y = Foo (x)
        z, mean, var, saved_mean, saved_var = BatchNormalization (x, s, s, s, s)
        w = Add (saved_mean, saved_var)
    }"""
    module = onnxla.load(make(header(9) + text, s=np.ones(2, np.float32)))
    with pytest.raises(onnxla.UnsupportedError) as error:
        module.upgrade()
    assert "Foo -> y cannot be upgraded" in str(error.value)
    assert "BatchNormalization -> z, mean" in str(error.value)
