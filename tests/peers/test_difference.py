"""How far values are apart, and what a tolerance allows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from onnxla.peers.difference import Tolerance, difference

ONE = np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("got", "expected", "text"),
    [
        (np.float32([1, 2]), np.float32([1, 2 + 1e-6]), ""),
        (np.float32([1, 2]), np.float32([1, 2.1]), r"2.0 at \[1\], not 2.1 \(1 of 2"),
        (np.float32([1e-7, 1]), np.float32([0, 1]), ""),  # of the largest element
        (np.float32([np.nan, np.inf]), np.float32([np.nan, np.inf]), ""),
        (np.float32([np.inf]), np.float32([-np.inf]), "inf at"),
        (np.float32([0.0]), np.float32([np.nan]), "not nan"),
        (np.float16([1.0]), np.float16([1.001]), ""),  # a unit in the last place
        (np.float32([1]), np.float64([1]), "float32, not float64"),
        (np.ones(1), np.ones((1, 1)), r"shape \[1\], not \[1, 1\]"),
        (np.int32([3]), np.int32([4]), "3 at"),
        (np.array(["a"], object), np.array(["b"], object), "a at"),
        (np.array([2**63 - 1]), np.array([2**63 - 2]), "at"),
        (np.array([True]), np.array([False]), "True at"),
    ],
)
def test_differences_of_arrays(got: np.ndarray, expected: np.ndarray, text: str) -> None:
    found = difference(got, expected, Tolerance(scaled=1e-5, roundings=4, steps=0))
    assert found.ok == (not text)
    assert re.search(text, str(found))


def test_numbers_below_the_least_normal_one_may_be_zero() -> None:
    least = np.finfo(np.float32).smallest_normal
    for some in (Tolerance(scaled=1e-5), Tolerance(relative=1e-5)):
        for near in (0.9, 1):  # rounded, the least normal one may be below itself
            assert difference(np.zeros(1, np.float32), np.float32([near * least]), some).ok
        assert not difference(np.zeros(1, np.float32), np.float32([1.001 * least]), some).ok
    # What is to be the same is, and in half precision such numbers are many.
    assert not difference(np.zeros(1, np.float32), np.float32([0.9 * least]), Tolerance()).ok
    half = np.float16([5e-5])
    assert not difference(np.zeros(1, np.float16), half, Tolerance(scaled=1e-5)).ok


def test_what_is_not_finite_may_be_left_out() -> None:
    loose = Tolerance(nonfinite=True)
    a, b = np.float32([1, np.nan, 3]), np.float32([np.inf, 2, 3])
    assert difference(a, b, loose).ok
    assert not difference(a, b, Tolerance()).ok
    assert not difference(a, b + 1, loose).ok
    assert difference(np.int32([1]), np.int32([1]), loose).ok
    assert not difference(np.int32([1]), np.int32([2]), loose).ok


def test_integers_may_differ_by_steps() -> None:
    a, b = np.array([3, 200], np.uint8), np.array([4, 199], np.uint8)
    assert difference(a, b, Tolerance(steps=1)).ok
    assert not difference(a, b, Tolerance(steps=0)).ok
    # Without a limit of their own they may differ as floats do.
    assert difference(a, b, Tolerance(relative=0.5)).ok
    assert not difference(a, b, Tolerance(relative=1e-3)).ok


@pytest.mark.parametrize(
    ("got", "expected", "text"),
    [
        ([ONE, ONE], [ONE, ONE], ""),
        ([ONE, 2 * ONE], [ONE, ONE], r"item 1: 2.0 at \[0\], not 1.0 \(2 of 2"),
        ([ONE], [ONE, ONE], "a sequence of 1, not a sequence of 2"),
        (ONE, [ONE], "ndarray, not a sequence of 1"),
        (None, None, ""),
        (None, ONE, "NoneType, not ndarray"),
        (np.ma.masked_greater(ONE, 0), ONE, "a masked array, not one of numbers alone"),
        ({1: 0.5, 2: 1.0}, {2: 1.0, 1: 0.5}, ""),
        ({1: 0.5}, {2: 0.5}, "{1: 0.5}, not {2: 0.5}"),
        ({"a": 1}, {"a": 2}, r"1 at \[0\], not 2"),
    ],
)
def test_differences_of_sequences_and_maps(got: Any, expected: Any, text: str) -> None:
    found = difference(got, expected, Tolerance(scaled=1e-5))
    assert found.ok == (not text)
    assert re.search(text, str(found))


def test_a_tolerance_is_of_an_element_of_the_tensor_or_absolute() -> None:
    got, expected = np.float32([1.01, 100]), np.float32([1, 100])
    assert difference(got, expected, Tolerance(relative=0.02)).ok
    assert not difference(got, expected, Tolerance(relative=0.005)).ok
    assert difference(got, expected, Tolerance(scaled=0.0002)).ok
    assert not difference(got, expected, Tolerance(scaled=0.00005)).ok
    assert difference(got, expected, Tolerance(absolute=0.02)).ok
    assert not difference(got, expected, Tolerance(absolute=0.005)).ok
    assert difference(got, 2 * expected, Tolerance(random=True)).ok
    found = difference(got, expected, Tolerance())
    assert (found.absolute, found.scale) == (pytest.approx(0.01, rel=1e-4), 100.0)
