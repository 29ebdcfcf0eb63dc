"""Faults on record: where a runtime departs from what the specification says."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from onnxla.ops.table import full_name
from onnxla.testing.case import Case
from onnxla.testing.version_ranges import installed, within

# The package that has a runtime, where its name is another.
PACKAGES = {"reference": "onnx", "version converter": "onnx", "shape inference": "onnx"}


def anywhere() -> bool:
    """On any machine."""
    return True


@dataclass(frozen=True)
class Fault:
    """A disagreement that has been looked into.

    For example:

        fault = onnxla.testing.faults()[0]
        print(fault.title, fault.versions)

    Attributes:
        runtime: Whose fault it is: the runtime's name.
        op_type: The operator's name.
        what: What the runtime does, in one sentence.
        text: What the specification says: its words, and what follows from them; or that it is
            silent, and what onnxla does and why.
        when: Whether a case of the operator meets the fault; see `onnxla.testing.predicates`.
        example: A case that does, as simple as possible.
        domain: The operator's domain.
        versions: Which versions of the runtime have it, such as `>=1.20,<1.33`; or of another
            package that decides it, such as `jax<0.12`. All, if empty.
        machine: Whether this machine is one of those that have it.
        nonfinite: Whether it concerns only results that are NaN or infinite, in the runtime or in
            what it is compared with: all others have to agree.
    """

    runtime: str
    op_type: str
    what: str
    text: str
    when: Callable[[Case], bool]
    example: Callable[[], Case]
    domain: str = ""
    versions: str = ""
    machine: Callable[[], bool] = anywhere
    nonfinite: bool = False

    def __post_init__(self) -> None:
        within("0", self.limits)  # is a range

    @property
    def title(self) -> str:
        """Whose fault it is, of which operator, and what it is."""
        return f"{self.runtime}: {full_name(self.op_type, self.domain)} {self.what}"

    @property
    def package(self) -> str:
        """The package whose versions are stated."""
        named = re.match(r"\w*", self.versions)
        return (named and named[0]) or PACKAGES.get(self.runtime, self.runtime)

    @property
    def limits(self) -> str:
        """The range of versions, without the name of a package."""
        return re.sub(r"^\w+", "", self.versions)

    @property
    def of_version(self) -> bool:
        """Whether the installed version has it, as far as that is known."""
        version = installed(self.package) if self.limits else None
        return version is None or within(version, self.limits)

    @property
    def applies(self) -> bool:
        """Whether the installed version has it on this machine."""
        return self.of_version and self.machine()

    @property
    def elsewhere(self) -> str:
        """Where it applies, if not here."""
        if self.of_version:
            return "of other machines"
        return f"of {self.versions}, not of {self.package} {installed(self.package)}"


@functools.cache
def faults() -> tuple[Fault, ...]:
    """All faults on record, family by family; those of all versions too.

    Where a record has no versions, they are those in which its runtime was looked at.

    For example:

        print([fault.title for fault in onnxla.testing.faults() if fault.runtime == "onnxruntime"])
    """
    from onnxla.testing import known_faults

    found: list[Fault] = []
    for module in pkgutil.iter_modules(known_faults.__path__):
        found += importlib.import_module(f"{known_faults.__name__}.{module.name}").FAULTS
    return tuple(
        replace(fault, versions=fault.versions or known_faults.SEEN.get(fault.runtime, ""))
        for fault in found
    )


@functools.cache
def faults_by_operator() -> dict[tuple[str, str], list[Fault]]:
    """The faults on record by name and domain of their operators."""
    found: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults():
        found.setdefault((fault.op_type, fault.domain), []).append(fault)
    return found


def faults_met(
    case: Case, runtimes: Sequence[str], among: Sequence[Fault] | None = None
) -> Iterator[Fault]:
    """The faults of some runtimes that a case meets, in whichever versions of these.

    A record is of a node by itself. The nodes of a graph are looked at while it is drawn.
    """
    if len(case.proto.graph.node) > 1:
        return
    key = case.op_type, case.domain
    for fault in faults_by_operator().get(key, ()) if among is None else among:
        if (fault.op_type, fault.domain) == key and fault.runtime in runtimes and fault.when(case):
            yield fault


def fault_of(
    case: Case, runtimes: Sequence[str], among: Sequence[Fault] | None = None
) -> Fault | None:
    """The first fault of one of the runtimes, as they are installed, that a case meets, if any."""
    return next((fault for fault in faults_met(case, runtimes, among) if fault.applies), None)
