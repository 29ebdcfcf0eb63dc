"""What is made once of a model, and kept as long as its program is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from onnxla.interpret.program import Program
from onnxla.module import Module

T = TypeVar("T")


def once_a_program(make: Callable[[Program], T]) -> Callable[[Module], T]:
    """A function of a module that makes something of its program, unless that is there already.

    What it makes must not hold the program, which would never go away.
    """
    kept: WeakKeyDictionary[Program, T] = WeakKeyDictionary()

    @wraps(make)
    def of_module(module: Module) -> T:
        if (found := kept.get(module.program)) is None:
            found = kept[module.program] = make(module.program)
        return found

    return of_module
