"""Refusals that many operators have in common."""

from __future__ import annotations

from typing import Any

from onnxla.ir.errors import ModelError, UnsupportedError


def only(name: str, value: Any, *choices: Any) -> None:
    """Raises: ModelError unless an attribute has one of the values that it may have."""
    if value not in choices:
        raise ModelError(f"{name}={value!r} is none of {', '.join(map(str, choices))}")


def refuse(name: str, **given: Any) -> None:
    """Raises: UnsupportedError if a feature that is not implemented has a value."""
    if used := [key for key, value in given.items() if value is not None and value != 0]:
        raise UnsupportedError(f"{name} with {', '.join(used)} is not supported")


def check_split(axis: int, rank: int) -> None:
    """Raises ModelError unless `axis` splits the axes of a tensor in those before and after it."""
    if not -rank <= axis <= rank:
        raise ModelError(f"axis {axis} is not in [-{rank}, {rank}], as the input has rank {rank}")
