"""What tells a formula from learned numbers where only a part of a tensor is looked at."""

import numpy as np
import pytest

from onnxla.parameters.evidence import is_switch, is_uniform
from onnxla.parameters.formulas import is_filter_bank, mirrored

RNG = np.random.default_rng(0)
TIME = np.arange(256)
# Of a Fourier transform: each row is a sine or cosine about its middle.
BANK = np.array([np.cos(2 * np.pi * k * (TIME - 127.5) / 256) for k in range(100)], np.float32)


def test_one_row_of_many_that_is_not_mirrored() -> None:
    assert mirrored(BANK)
    for row in (0, 1, 50, 99):
        broken = BANK.copy()
        broken[row] = RNG.standard_normal(256)
        assert not mirrored(broken)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_of_rounding_errors_do_not_count(dtype) -> None:
    noisy = BANK.astype(dtype)
    for row in range(0, 100, 3):
        noisy[row] = 1e-8 * RNG.standard_normal(256)
    assert mirrored(noisy)
    assert not mirrored(noisy[:1])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_finite_is_no_bank(number) -> None:
    broken = BANK.copy()
    broken[77, 3] = number
    assert not is_filter_bank(broken)


def test_columns_count_as_rows_do() -> None:
    assert is_filter_bank(BANK)
    assert is_filter_bank(BANK.T)
    assert not is_filter_bank(RNG.standard_normal((100, 256)).astype(np.float32))


def test_numbers_that_differ_only_at_the_end() -> None:
    same = np.ones((40, 40), np.float32)
    assert is_uniform(same)
    assert is_switch(same)
    same[-1, -1] = 0
    assert not is_uniform(same)
    assert is_switch(same)
    same[-1, -1] = 2
    assert not is_switch(same)
