"""Every operator, and every real model, can be lowered for GPU and TPU, whatever is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from onnx import TensorProto

import onnxla
from onnxla.ops import lookup
from onnxla.ops.arithmetic import quotient
from support.real_models import ALIKE, FURTHER, LISTED
from support.sample_models import ROWS, case_at
from support.samples import Sample, samples

PLATFORMS = ("cuda", "tpu")
REAL = {name: model for name, model in {**LISTED, **FURTHER}.items() if name not in ALIKE}


def first_samples() -> Iterator[Any]:
    """The first sample of each operator, at its latest version."""
    seen = set[tuple[str, str]]()
    for sample in samples():
        key = sample.domain, sample.op_type
        listed = [version for version, _ in ROWS[key]]
        versions = [v for v in listed if sample.versions is None or v in sample.versions]
        if versions and key not in seen:
            seen.add(key)
            name = f"{sample.domain}.{sample.op_type}".strip(".")
            yield pytest.param(sample, max(versions), id=name)


def lower(function: Callable[..., Any], *arguments: Any) -> None:
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    export.export(jax.jit(function), platforms=PLATFORMS)(*shapes)


def split(
    module: onnxla.Module, inputs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs that have to be known, and the others."""
    with jax.enable_x64(True):
        module.program.prepare(module.check_inputs(inputs), None)
        static = module.program.static
        known = {name: np.asarray(x) for name, x in inputs.items() if name in static}
        return known, {name: jnp.asarray(x) for name, x in inputs.items() if name not in known}


def check(module: onnxla.Module, inputs: Mapping[str, Any]) -> None:
    """Lowers a call, and the gradient of what can be differentiated, for all platforms."""
    if any(np.asarray(x).dtype == object for x in inputs.values()):
        pytest.skip("text is not computed on a device")
    known, traced = split(module, inputs)
    if module.program.data_dependent:
        pytest.skip("its shapes depend on data")

    def apply(params: Any, traced: Any) -> Any:
        values = {**known, **traced}
        return module.apply(params, *(values[name] for name in module.input_names))

    def gradient(params: Any, traced: Any) -> Any:
        floats = {k: x for k, x in traced.items() if jnp.issubdtype(x.dtype, jnp.floating)}

        def loss(params: Any, floats: Any) -> Any:
            leaves = jax.tree.leaves(apply(params, {**traced, **floats}))
            return sum(jnp.sum(y.astype(np.float32)) for y in leaves if y.dtype.kind == "f")

        return jax.grad(lambda *xs: jnp.asarray(loss(*xs), np.float32), (0, 1))(params, floats)

    with jax.enable_x64(True):
        try:
            lower(apply, module.params, traced)
        except onnxla.StaticOperandError:
            pytest.skip("an input decides a shape, which only a trace finds out")
        try:
            jax.eval_shape(gradient, module.params, traced)
        except Exception:  # it has no gradient on any platform
            return
        lower(gradient, module.params, traced)


@pytest.mark.one_in(6)
@pytest.mark.parametrize(("sample", "version"), [*first_samples()])
def test_operators(sample: Sample, version: int) -> None:
    case = case_at(sample, version, sample.inputs)
    check(onnxla.load(case.model), dict(case.inputs))


@pytest.mark.one_in(12)
@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str) -> None:
    model = REAL[name]
    module = onnxla.load(model.load())
    check(module, model.feeds(model.sizes[0]))


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "how"),
    [
        ("Div", 2, {}, "reduce_precision"),
        ("Cast", 1, {"to": TensorProto.FLOAT8E4M3FN}, "optimization_barrier"),
        ("Cast", 1, {"to": TensorProto.BFLOAT16}, "optimization_barrier"),
    ],
)
def test_what_xla_rounds_otherwise_on_a_gpu_is_asked_for(
    op_type: str, inputs: int, attributes: dict[str, Any], how: str
) -> None:
    function = lookup("", op_type, 21).function
    operands = [jax.ShapeDtypeStruct((3,), np.float32)] * inputs
    for platform in ("cpu", *PLATFORMS):
        made = export.export(jax.jit(lambda *xs: function(*xs, **attributes)), platforms=[platform])
        assert (how in made(*operands).mlir_module()) == (platform != "cpu")


def test_a_quotient_is_rounded_correctly() -> None:
    a, b = np.arange(1, 500, dtype=np.float32)[:, None], np.arange(1, 200, dtype=np.float32)
    for x in (a, a * b):
        np.testing.assert_array_equal(jax.jit(quotient)(x, b), x / b)
    constant = np.float32(41)
    np.testing.assert_array_equal(jax.jit(lambda x: quotient(x, constant))(a * 41), a)
