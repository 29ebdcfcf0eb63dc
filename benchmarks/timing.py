"""Time of two sides that take turns, so that whatever else the machine does slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

Side = Callable[[], float]
"""Runs something once; returns its seconds."""


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def once(function: Callable[[], object]) -> Side:
    return lambda: seconds(function)


def warm(function: Callable[[], object]) -> Side:
    """The second of two runs: threads of the other side may still spin in the first."""

    def side() -> float:
        function()
        return seconds(function)

    return side


def in_turn(runs: int, *sides: Side) -> list[list[float]]:
    """The seconds of each side's runs, which alternate."""
    rounds = [[side() for side in sides] for _ in range(runs)]
    return [list(each) for each in zip(*rounds, strict=True)]


def alone(ours: Sequence[float]) -> dict[str, float]:
    """The columns of a side without a peer."""
    return {"onnxla": statistics.median(ours), "least": min(ours)}


def beside(peer: str, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """The columns of two sides: medians, the least, and their ratios."""
    median, least = statistics.median(theirs), min(theirs)
    return {
        **alone(ours),
        peer: median,
        f"{peer} least": least,
        "ratio": statistics.median(ours) / median,
        "ratio of least": min(ours) / least,
    }
