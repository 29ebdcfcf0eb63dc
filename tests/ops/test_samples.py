"""Every operator sample against another runtime, and its gradients; every schema version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_jvp, check_vjp

import onnxla
from onnxla.peers.difference import difference
from onnxla.testing import Case, NotSupported, OnnxRuntime, Reference
from support.sample_models import ROWS, case_at, in_double_precision
from support.samples import Sample, samples

# Versions that ONNX Runtime does not implement, though the ones before.
TOO_NEW = {
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), 22),
    **dict.fromkeys(("Bernoulli", "GlobalLpPool", "MaxRoiPool", "Multinomial", "RoiAlign"), 22),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), 28),
}


def by_function(sample: Sample) -> Iterable[list[int]]:
    """Versions at which a sample is valid, those that one function implements together."""
    found: dict[Any, list[int]] = {}
    for version, operator in ROWS[sample.domain, sample.op_type]:
        if sample.versions is None or version in sample.versions:
            found.setdefault(operator.function, []).append(version)
    return found.values()


def cases(gradients: bool) -> Iterator[tuple[Sample, int, str]]:
    """Each sample once for each function, at the latest version; and a sample at every version."""
    covered: set[tuple[str, str, int]] = set()
    for index, sample in enumerate(samples()):
        for versions in by_function(sample):
            limit = TOO_NEW.get(sample.op_type, versions[-1] + 1)
            latest = max((v for v in versions if v < limit), default=versions[-1])
            for version in versions:
                key = sample.domain, sample.op_type, version
                new = key not in covered and not gradients
                covered.add(key)
                if (version == latest or new) and (sample.grad or not gradients):
                    yield sample, version, f"{sample.op_type}-{version}-{index}"


def parameters(gradients: bool, every: bool = True) -> list[Any]:
    """The cases; all but an operator's first at its latest version are `more`, or left out.

    Those are compiled `quickly`: they are many.
    """
    first: dict[tuple[str, str], tuple[Sample, int, str]] = {}
    for case in cases(gradients):
        sample, version, _ = case
        key = sample.domain, sample.op_type
        if key not in first or version > first[key][1]:
            first[key] = case
    shown = {name for _, _, name in first.values()}
    rest = (pytest.mark.more, pytest.mark.quickly)
    return [
        pytest.param(sample, version, id=name, marks=() if name in shown else rest)
        for sample, version, name in cases(gradients)
        if every or name in shown
    ]


def others(sample: Sample, case: Case) -> list[Any]:
    """Outputs of ONNX Runtime; where it does not implement the version, of the reference."""
    if sample.expected is not None:
        outputs = sample.expected(*sample.inputs)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]
    try:
        return OnnxRuntime(optimized=True).run(case.model, case.inputs)
    except NotSupported:
        return Reference().run(case.model, case.inputs)


def compiled(module: onnxla.Module, inputs: dict[str, Any]) -> tuple[Any, ...]:
    """Outputs under a caller's `jax.jit`, or of a call where shapes depend on data.

    The caller has 64-bit types disabled, as is JAX's default.
    """
    static = module.program.parameters.static_inputs
    known = {name: inputs[name] for name in static if name in inputs}
    if module.program.data_dependent:  # there are strings
        return tuple(module.run(inputs).values())
    with jax.enable_x64(True):
        traced = {name: jnp.asarray(x) for name, x in inputs.items() if name not in known}

    def apply(traced: dict[str, jax.Array]) -> Any:  # by position: an input may be called `key`
        values = {**known, **traced}
        return module.apply(module.params, *(values[name] for name in module.input_names))

    try:
        outputs = jax.jit(apply)(traced)
    except onnxla.StaticOperandError:
        return tuple(module.run(inputs).values())
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.mark.parametrize(("sample", "version"), parameters(gradients=False))
def test_equals_another_runtime(sample: Sample, version: int) -> None:
    case = case_at(sample, version, sample.inputs)
    got = compiled(onnxla.load(case.model), dict(case.inputs))
    found = difference(got, others(sample, case), sample.tolerance)
    assert found.ok, found


@pytest.mark.one_in(4)
@pytest.mark.quickly
@pytest.mark.parametrize(("sample", "version"), parameters(gradients=True))
def test_gradients(sample: Sample, version: int) -> None:
    with jax.enable_x64(True):
        check_gradients(*in_double_precision(sample, version))


@pytest.mark.more
@pytest.mark.parametrize(("sample", "version"), parameters(gradients=True, every=False))
def test_gradients_as_users_compile_them(sample: Sample, version: int) -> None:
    with jax.enable_x64(True):
        check_gradients(*in_double_precision(sample, version))


def check_gradients(function: Callable[..., Any], points: tuple[np.ndarray, ...]) -> None:
    """Compares derivatives, forward and reverse, with differences; all of them in one program."""

    @jax.jit
    def derivatives(points: Any, tangents: Any, cotangents: Any) -> Any:
        outputs, pull = jax.vjp(function, *points)
        return outputs, jax.jvp(function, points, tangents)[1], pull(cotangents)

    no_tangents = tuple(map(np.zeros_like, points))
    no_cotangents = jax.tree.map(
        lambda y: np.zeros(y.shape, y.dtype), jax.eval_shape(function, *points)
    )

    def value(*points: Any) -> Any:
        return derivatives(points, no_tangents, no_cotangents)[0]

    def jvp(points: Any, tangents: Any) -> Any:
        return derivatives(points, tangents, no_cotangents)[:2]

    def vjp(*points: Any) -> Any:
        return value(*points), lambda cotangents: derivatives(points, no_tangents, cotangents)[2]

    check_jvp(value, jvp, points)
    check_vjp(value, vjp, points)
