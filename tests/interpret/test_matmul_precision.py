"""The precision of products: exact unless the caller asks for less."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import onnxla
from onnxla.interpret.rules.budget import equations
from support.sample_models import ROWS, in_double_precision
from support.samples import (
    Sample,
    attention,
    conv,
    matmul,
    microsoft_attention,
    microsoft_moe,
    microsoft_recurrent,
    rnn,
)
from support.small_models import linear

FAMILIES = (
    *(attention, conv, matmul, microsoft_attention, microsoft_moe, microsoft_recurrent, rnn),
)
# Operators of these families without products, or with one of JAX's that is exact in any case.
OTHERS = {"CausalConvWithState", "Col2Im", "Det", "RotaryEmbedding"}
HIGHEST, HIGH = jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGH


def first_samples() -> dict[str, Sample]:
    """The first sample with gradients of each operator that computes products."""
    found: dict[str, Sample] = {}
    for family in FAMILIES:
        for sample in family.SAMPLES:
            if sample.grad and sample.op_type not in OTHERS:
                found.setdefault(sample.op_type, sample)
    return found


def precisions(function: Callable[..., Any], *points: Any) -> list[Any]:
    """The precision of each product in the trace of a function and its gradient."""

    def pulled(*points: Any) -> Any:
        outputs, pull = jax.vjp(function, *points)
        return pull(outputs)

    traced = equations(jax.make_jaxpr(pulled)(*points).jaxpr)
    found = [e.params["precision"] for e in traced if "precision" in e.params]
    return [p if p is None or isinstance(p, str) else p[0] for p in found]


def latest(sample: Sample) -> int:
    given = [v for v, _ in ROWS[sample.domain, sample.op_type]]
    return max(given if sample.versions is None else sample.versions)


@pytest.mark.parametrize("sample", first_samples().values(), ids=lambda sample: sample.op_type)
def test_all_products_are_exact_or_as_the_caller_says(sample: Sample) -> None:
    with jax.enable_x64(True):
        function, points = in_double_precision(sample, latest(sample))
        found = {*precisions(function, *points)}
        assert found
        assert found <= {HIGHEST, "highest"}
        with jax.default_matmul_precision("tensorfloat32"):
            assert {*precisions(function, *points)} <= {HIGH, "tensorfloat32"}


@pytest.mark.parametrize(
    ("given", "callers", "used"),
    [
        (None, None, HIGHEST),
        (None, "default", jax.lax.Precision.DEFAULT),
        ("tensorfloat32", None, HIGH),
        ("tensorfloat32", "default", HIGH),
        ("highest", "default", HIGHEST),
    ],
)
def test_what_a_module_states_goes_before_what_its_caller_does(
    given: str | None, callers: str | None, used: Any
) -> None:
    module = onnxla.load(linear(), matmul_precision=given)
    x = np.ones((1, 3), np.float32)
    context = jax.default_matmul_precision(callers) if callers else contextlib.nullcontext()
    with context:
        assert {*precisions(module.apply, module.params, x)} == {used}


def test_a_call_is_compiled_again_for_another_precision() -> None:
    module = onnxla.load(linear())
    x = np.ones((1, 3), np.float32)
    found = module(x)
    with jax.default_matmul_precision("bfloat16"):
        np.testing.assert_array_equal(module(x), found)  # on CPU, where it changes nothing
    ((program,),) = [module.program.programs.values()]
    assert program._cache_size() == 2


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"matmul_precision is a precision.*got 'bfloat17'"):
        onnxla.load(linear(), matmul_precision="bfloat17")
    module = onnxla.load(linear())
    data = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    with pytest.raises(ValueError, match=r"matmul_precision is a precision.*got 'bfloat17'"):
        onnxla.fit(module, data, "mse", matmul_precision="bfloat17")
