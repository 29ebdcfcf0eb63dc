"""The property that an infinity reaches only what depends on it finds those that do not select."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from onnxla.ops import lookup, table
from onnxla.testing import Case, PropertyViolated, example
from onnxla.testing.selection import infinities_reach_what_depends_on_them
from support.mutants import Mutant
from support.samples import f32

SCALES = np.float32([1, 1, 2])
# Every other result is an element, and the weight of the next one is zero.
RESIZED = example(
    "Resize",
    *(13, f32(1, 1, 9), None, SCALES),
    mode="linear",
    coordinate_transformation_mode="asymmetric",
)
PADDED = example("Conv", 11, f32(1, 1, 4), f32(1, 1, 3), pads=[1, 1])
PRODUCTS = Mutant(
    "zeros meet elements",
    "Resize",
    "jnp.where(entries.reshape(column) == 0, 0, found)",
    "found",
    "onnxla.ops.sparse_matrix",
)


@pytest.mark.parametrize(
    "case",
    [
        RESIZED,
        PADDED,
        # What is hidden by a zero of the other operand depends on it.
        example("MatMul", 13, f32(2, 3), np.zeros((3, 2), np.float32)),
        example("Max", 13, f32(3), f32(3, seed=1)),
        example("Softmax", 13, f32(2, 3)),
    ],
    ids=lambda case: case.op_type,
)
def test_it_holds(case: Case) -> None:
    assert infinities_reach_what_depends_on_them(case)


def test_it_says_nothing_of_integers() -> None:
    case = example("Equal", 13, np.int64([1, 2]), np.int64([1, 3]))
    assert not infinities_reach_what_depends_on_them(case)


def test_it_finds_a_product_with_zeros() -> None:
    with PRODUCTS.planted(), pytest.raises(PropertyViolated, match="inf in 'X' reaches 1 results"):
        infinities_reach_what_depends_on_them(RESIZED)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere no zeros are multiplied")
def test_it_finds_an_operand_that_meets_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the operator says so, as that of a convolution does."""
    conv = lookup("", "Conv", 11)
    assert conv is not None
    rows: Any = [(version, replace(conv, times_zero=())) for version in conv.since]
    monkeypatch.setitem(table.TABLE, ("", "Conv"), rows)
    with pytest.raises(PropertyViolated, match="in 'W' reaches"):
        infinities_reach_what_depends_on_them(PADDED)
