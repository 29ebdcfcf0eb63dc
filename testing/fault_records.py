"""Faults on record: where a runtime departs from what the specification says."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnxla.testing.case import Case


@dataclass(frozen=True)
class Fault:
    """A disagreement that has been looked into.

    Attributes:
        runtime: Whose fault it is: the runtime's name.
        op_type: The operator's name.
        what: What the runtime does, in one sentence.
        text: What the specification says: its words, and what follows from them; or that it is
            silent, and what onnxla does and why.
        when: Whether a case of the operator meets the fault.
        example: A case that does, as simple as possible.
        domain: The operator's domain.
    """

    runtime: str
    op_type: str
    what: str
    text: str
    when: Callable[[Case], bool]
    example: Callable[[], Case]
    domain: str = ""

    @property
    def title(self) -> str:
        """Whose fault it is, of which operator, and what it is."""
        name = f"{self.domain}.{self.op_type}" if self.domain else self.op_type
        return f"{self.runtime}: {name} {self.what}"


@functools.cache
def faults() -> tuple[Fault, ...]:
    """All faults on record, family by family."""
    from onnxla.testing import known_faults

    found: list[Fault] = []
    for module in pkgutil.iter_modules(known_faults.__path__):
        found += importlib.import_module(f"{known_faults.__name__}.{module.name}").FAULTS
    return tuple(found)


def fault_of(
    case: Case, runtimes: Sequence[str], among: Sequence[Fault] | None = None
) -> Fault | None:
    """The first fault of one of the runtimes that a case meets, if any."""
    for fault in faults() if among is None else among:
        if (
            (fault.op_type, fault.domain) == (case.op_type, case.domain)
            and fault.runtime in runtimes
            and fault.when(case)
        ):
            return fault
    return None
