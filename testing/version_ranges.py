"""Ranges of versions, such as `>=1.20,<1.33`, and what is installed."""

from __future__ import annotations

import functools
import importlib
import re


@functools.cache
def installed(package: str) -> str | None:
    """The version of a package; None if it is not there or does not say."""
    try:
        return str(importlib.import_module(package).__version__)
    except (ImportError, AttributeError):
        return None


def apart(name: str) -> tuple[str, str | None]:
    """A runtime's name, and the version that it may end with, as in `onnxruntime 1.32.0`."""
    found = re.fullmatch(r"(.+?) (\d[\w.+-]*)", name)
    return (found[1], found[2]) if found else (name, None)


def within(version: str, limits: str) -> bool:
    """Whether a version lies in a range: limits with `>=` and `<`, separated by commas.

    Raises:
        ValueError: It is no range.
    """
    return all((numbers(version) >= n) is (sign == ">=") for sign, n in parsed(limits))


def parsed(limits: str) -> list[tuple[str, tuple[int, ...]]]:
    """Sign and number of each limit."""
    found = []
    for limit in filter(None, limits.split(",")):
        if not (match := re.fullmatch(r"\s*(>=|<)\s*(\d+(?:\.\d+)*)\s*", limit)):
            raise ValueError(f"'{limit}' is no limit of versions, such as >=1.20 or <1.33")
        found.append((match[1], numbers(match[2])))
    return found


def numbers(version: str) -> tuple[int, ...]:
    """Major, minor and patch number; 0 where absent."""
    found = [int(part) for part in re.findall(r"\d+", version)][:3]
    return tuple(found + [0] * (3 - len(found)))
