"""Numbers on the command line: what they may be, and what to say where they are not."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable

from onnxla.ir.names import quoted

LARGEST = 2**63 - 1


def whole(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """What reads a whole number from `least` to `most`."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"takes a whole number, got {quoted(text)}") from None
        if not least <= number <= most:
            bound = f"at least {least}" if number < least else f"at most {most}"
            raise ArgumentTypeError(f"must be {bound}, got {quoted(text)}")
        return number

    return convert


def real(text: str) -> float:
    """A number that is not NaN."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ArgumentTypeError(f"takes a number, got {quoted(text)}")
    return number


def positive(text: str) -> float:
    """A finite number above zero."""
    number = real(text)
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"must be above 0 and finite, got {quoted(text)}")
    return number


def share(text: str) -> float:
    """A number between 0 and 1."""
    number = real(text)
    if not 0 < number < 1:
        raise ArgumentTypeError(f"must be between 0 and 1, got {quoted(text)}")
    return number


def duration(text: str) -> float:
    """Seconds, from a number with a unit, such as 90s, 30m or 2h."""
    units = {"s": 1, "m": 60, "h": 3600}
    if text[-1:] not in units:
        raise ArgumentTypeError(f"takes a time such as 90s, 30m or 2h, got {quoted(text)}")
    return positive(text[:-1]) * units[text[-1]]
