"""Whether two runtimes agree on a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxla.peers.difference import difference
from onnxla.peers.protocol import NotSupported, Runtime
from onnxla.peers.runtimes import safely_named
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault, faults_met

# The kinds of outcome that speak against the runtime under test.
WRONG = ("disagreed", "failed")
Kind = Literal["agreed", "disagreed", "failed", "other failed", "unsupported", "known fault"]

# Called by `check` with each outcome, for reports on whole test runs.
OBSERVERS: list[Callable[[Outcome, Case], object]] = []


@dataclass(frozen=True)
class Outcome:
    """What came of a case in two runtimes.

    Attributes:
        kind: `agreed`; `disagreed`; `failed`: the runtime under test raised an error or crashed;
            `other failed`: the one it is compared with did; `unsupported`: one of the two says
            that it does not implement the case; `known fault`: they disagree, or the other one
            failed, for a reason that is on record.
        detail: How they differ, or what the error says.
        fault: The one on record.
        not_applied: A fault on record that the case meets, but of other versions of the runtime
            than the one installed, or of other machines, so that it counts for nothing.
    """

    kind: Kind
    detail: str = ""
    fault: Fault | None = None
    not_applied: Fault | None = None


class Disagreement(AssertionError):
    """A runtime disagrees with another one, or fails. The message has the case as a script."""

    def __init__(self, case: Case, runtime: str, against: str, outcome: Outcome) -> None:
        self.case = case
        self.outcome = outcome
        failed = outcome.kind == "failed"
        head = f"{runtime} fails" if failed else f"{runtime} disagrees with {against}"
        super().__init__(f"{head}: {outcome.detail}\n{case!r}\n\n{case.script()}")


def compare(
    case: Case,
    runtime: Runtime | str = "onnxla",
    against: Runtime | str = "reference",
    faults: Sequence[Fault] | None = None,
) -> Outcome:
    """Runs a case in two runtimes.

    Args:
        case: What to run.
        runtime: The one under test, or its name.
        against: The one that it is compared with, or its name.
        faults: Known faults of both; by default those that onnxla has on record.
    """
    tested, other = (safely_named(r) if isinstance(r, str) else r for r in (runtime, against))
    answers = []
    sides: list[tuple[Runtime, Kind]] = [(other, "other failed"), (tested, "failed")]
    for peer, kind in sides:
        try:
            answers.append(peer.run(case.model, case.inputs))
        except NotSupported as error:
            return Outcome("unsupported", f"{peer.name}: {one_line(error)}")
        except Exception as error:
            return verdict(case, kind, f"{peer.name}: {one_line(error)}", [peer.name], faults)
    expected, got = answers
    if not (detail := output_difference(case, got, expected)):
        return Outcome("agreed")
    return verdict(case, "disagreed", detail, [tested.name, other.name], faults)


def verdict(
    case: Case, kind: Kind, detail: str, runtimes: Sequence[str], faults: Sequence[Fault] | None
) -> Outcome:
    """What something wrong counts as: a known fault where the runtimes as installed have one."""
    not_applied = None
    for fault in faults_met(case, runtimes, faults):
        if fault.applies:
            return Outcome("known fault", detail, fault)
        not_applied = not_applied or fault
    return Outcome(kind, detail, not_applied=not_applied)


def check(
    case: Case,
    runtime: Runtime | str = "onnxla",
    against: Runtime | str = "reference",
    faults: Sequence[Fault] | None = None,
    save: str | Path | None = None,
) -> Outcome:
    """Asserts that a runtime agrees with another one on a case.

    Args:
        case: What to run.
        runtime: The one under test, or its name.
        against: The one that it is compared with, or its name.
        faults: Known faults of both, which do not count; by default those on record.
        save: A folder for the model and inputs of a case that fails, as `.onnx` and `.npz`. Under
            Hypothesis the last one written is the simplest one found.

    Raises:
        Disagreement: They disagree, or the runtime under test fails.
    """
    outcome = compare(case, runtime, against, faults)
    for observe in OBSERVERS:
        observe(outcome, case)
    if outcome.kind in WRONG:
        if save is not None:
            case.save(Path(save) / f"{case.op_type}-{case.version}")
        tested, other = (r if isinstance(r, str) else r.name for r in (runtime, against))
        raise Disagreement(case, tested, other, outcome)
    return outcome


def output_difference(case: Case, got: Sequence[Any], expected: Sequence[Any]) -> str:
    """How outputs differ from those expected, in one line; empty if they agree."""
    if len(got) != len(expected):
        return f"{len(got)} outputs, not {len(expected)}"
    names = [value.name for value in case.proto.graph.output]
    for name, ours, theirs in zip(names, got, expected, strict=True):
        if not (found := difference(ours, theirs, case.tolerance)).ok:
            return f"output '{name}': {found}"
    return ""


def one_line(error: Exception) -> str:
    """An error's type and message in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400]
