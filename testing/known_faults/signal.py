"""Faults in Fourier transforms, windows and the mel scale."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, operand
from onnxla.testing.use import example


@When
def half(case: Case) -> bool:
    """Whether the edges are in half precision."""
    return any(case.operands[3].dtype == d for d in (np.float16, ml_dtypes.bfloat16))


@When
def beyond_the_bins(case: Case) -> bool:
    """Whether the upper edge, rounded to a bin, is not one of those that there are."""
    _, length, rate, _, upper = (float(x) for x in case.operands)
    return (length + 1) * upper // rate >= length // 2 + 1


def mel(bands: int, length: int, low: Any, high: Any) -> Case:
    """A use of MelWeightMatrix at a rate of 8192."""
    whole = (np.array(n) for n in (bands, length, 8192))
    types = {"y0": "tensor(float)"}
    return example("MelWeightMatrix", 17, *whole, low, high, types=types)


@When
def is_resized(case: Case) -> bool:
    """Whether an inverse, one-sided transform needs fewer elements than there are, or more."""
    flags = case.attributes.get("inverse", 0) and case.attributes.get("onesided", 0)
    x, length, *axis = [*case.operands, None, None][:3]
    along = case.attributes.get("axis", 1) if case.version == 17 else -2
    along = int(axis[0]) if axis[0] is not None else along
    return bool(flags) and length is not None and int(length) // 2 + 1 != x.shape[along]


FAULTS = [
    Fault(
        "onnxruntime",
        "DFT",
        "is wrong where dft_length asks for other elements than there are, one-sided and inverse",
        "'If greater than the axis dimension, the signal will be zero-padded up to `dft_length`. "
        "If less than the axis dimension, only the first `dft_length` values will be used as the "
        "signal.'",
        is_resized,
        lambda: example(
            "DFT",
            20,
            np.array([1, 0, 2, 0, 3, 0], np.float32).reshape(1, 3, 2),
            np.array(1),
            inverse=1,
            onesided=1,
            ranks={"y0": 3},
        ),
    ),
    Fault(
        "onnxruntime",
        "STFT",
        "fails without window and frame_length",
        "'When both `window` and `frame_length` are omitted, `frame_length` defaults to "
        "`signal_length`.'",
        ~(operand(2) | operand(3)),
        lambda: example(
            "STFT",
            17,
            np.ones((1, 4, 1), np.float32),
            np.array(1),
            ranks={"y0": 4},
        ),
    ),
    Fault(
        "reference",
        "MelWeightMatrix",
        "computes the edges of the bands in half precision, where those given have it",
        "The text does not say how exact the edges are; 'mel(f) = 2595 * log10(1 + f/700)' decides "
        "which bins a band has, and onnxla computes it in double precision.",
        half,
        lambda: mel(8, 8, *(np.array(f, ml_dtypes.bfloat16) for f in (0, 3008))),
    ),
    Fault(
        "onnxruntime",
        "MelWeightMatrix",
        "rejects an upper edge of half the sample rate, where dft_length is odd",
        "'The desired top edge of the highest frequency band', which may be the highest frequency "
        "there is.",
        beyond_the_bins,
        lambda: mel(8, 19, np.float32(0), np.float32(4096)),
    ),
]
