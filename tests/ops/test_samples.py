"""Every operator sample against another runtime, and its gradients; every schema version."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.test_util import check_jvp, check_vjp

import onnxla
from onnxla.peers.difference import difference
from onnxla.testing import Case, NotSupported, OnnxRuntime, Reference
from support.compiling import QUICKLY
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


def cases(gradients: bool) -> Iterator[Any]:
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
                    yield pytest.param(sample, version, id=f"{sample.op_type}-{version}-{index}")


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


@pytest.mark.parametrize(("sample", "version"), list(cases(gradients=False)))
def test_equals_another_runtime(sample: Sample, version: int) -> None:
    case = case_at(sample, version, sample.inputs)
    got = compiled(onnxla.load(case.model), dict(case.inputs))
    found = difference(got, others(sample, case), sample.tolerance)
    assert found.ok, found


@pytest.mark.parametrize(("sample", "version"), list(cases(gradients=True)))
def test_gradients(sample: Sample, version: int) -> None:
    with jax.enable_x64(True):
        function, points = in_double_precision(sample, version)
        jit = functools.partial(jax.jit, compiler_options=QUICKLY)
        value = jit(function)
        check_jvp(value, jit(functools.partial(jax.jvp, function)), points)
        pull = jit(lambda pullback, cotangent: pullback(cotangent))

        def vjp(*points: jax.Array) -> Any:
            y, pullback = jit(functools.partial(jax.vjp, function))(*points)
            return y, functools.partial(pull, pullback)

        check_vjp(value, vjp, points)
