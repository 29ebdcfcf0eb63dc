"""Whether a runtime agrees with those that judge it on a case."""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from onnxla.peers.difference import Tolerance, difference
from onnxla.peers.isolation import RuntimeCrashed
from onnxla.peers.protocol import Runtime, RuntimeFailed
from onnxla.peers.runtimes import safely_named
from onnxla.peers.worker import error_text, is_refusal, refusal
from onnxla.testing.case import Case
from onnxla.testing.fault_records import PACKAGES, Fault, faults_met

# The kinds of outcome that speak against the runtime under test.
WRONG = ("disagreed", "failed")
# Those without a result to compare, or without one to compare it with.
NOT_COMPARED = ("not judged", "unsupported")
Kind = Literal[
    "agreed", "disagreed", "failed", "known fault", "judges differ", "not judged", "unsupported"
]
# What a runtime is compared with: runtimes or their names, of which the first ones count most.
Judges = Runtime | str | Sequence[Runtime | str]
# What the specification says, as onnxla reads it; then others.
JUDGES = ("onnxla", "reference", "onnxruntime")

# Called by `check` with each outcome, for reports on whole test runs.
OBSERVERS: list[Callable[[Outcome, Case], object]] = []


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    For example:

        case = onnxla.testing.example("Neg", 13, x)
        outcome = onnxla.testing.compare(case, "onnxla", "reference")
        print(outcome.kind, outcome.detail)

    Attributes:
        kind: `agreed`; `disagreed`; `failed`: the runtime under test raised an error or crashed;
            `known fault`: it disagrees or fails, or no judge has an answer, for a reason that is on
            record; `judges differ`: it agrees with one of them and not with another; `not judged`:
            none of them has an answer; `unsupported`: the runtime under test says that it does not
            implement the case.
        detail: How the values differ, or what the error says.
        fault: The one on record.
        not_applied: A fault on record that the case meets, but of other versions of the runtime
            than the one installed, or of other machines, so that it counts for nothing.
        judges: Names of those whose answer is the one expected.
        crashed: Whether the runtime under test took its process down or did not answer in time.
    """

    kind: Kind
    detail: str = ""
    fault: Fault | None = None
    not_applied: Fault | None = None
    judges: tuple[str, ...] = ()
    crashed: bool = False

    @property
    def place(self) -> str:
        """Where the result is wrong: the detail without the numbers and names of the case."""
        text = re.sub(r"'[^']*'", "'…'", self.detail)
        if found := re.match(
            r"(output '…': )(.*?) at \[[\d, ]*\], not (.*?) \(\d+ of ", text, re.S
        ):
            return f"{found[1]}{sort_of(found[2])}, not {sort_of(found[3])}"
        text = re.sub(r"\[[^\[\]]*\]|\([\d, ]*\)", "[…]", text)
        return re.sub(r"(?<![A-Za-z_\d])[-+]?\d[\w.+-]*", "#", text)[:160]


def sort_of(number: str) -> str:
    """What sort of number a text is."""
    sorts = {"nan": "NaN", "inf": "an infinity"}
    return next((sort for part, sort in sorts.items() if part in number), "a value")


# A judge's name, the outputs that it expects, and its fault on record, if the case meets one.
Answer = tuple[str, list[Any], Fault | None]


class Disagreement(AssertionError):
    """A runtime disagrees with another one, or fails. The message has the case as a script.

    For example:

        class Wrong:
            name = "wrong"

            def run(self, model, inputs):
                return [value * 2 for value in inputs.values()]

        case = onnxla.testing.example("Neg", 13, x)
        try:
            onnxla.testing.check(case, Wrong(), "reference")
        except onnxla.testing.Disagreement as error:
            print(error)
    """

    def __init__(self, case: Case, runtime: str, outcome: Outcome) -> None:
        self.case = case
        self.outcome = outcome
        failed = outcome.kind == "failed"
        against = " and ".join(outcome.judges)
        head = f"{runtime} fails" if failed else f"{runtime} disagrees with {against}"
        super().__init__(f"{head}: {outcome.detail}\n{case!r}\n\n{case.script()}")


def runtime_of(runtime: Runtime | str) -> Runtime:
    """A runtime, or the one of a name.

    Raises:
        ValueError: There is none of the name.
    """
    return safely_named(runtime) if isinstance(runtime, str) else runtime


def judges_of(against: Judges | None, tested: Runtime) -> list[Runtime]:
    """Those that judge a runtime: by default those of `JUDGES` that are there, but none itself."""
    if against is None:
        against = [name for name in JUDGES if name != tested.name and is_there(name)]
    return [runtime_of(r) for r in ([against] if isinstance(against, str | Runtime) else against)]


def is_there(judge: str) -> bool:
    """Whether the package of a judge is installed."""
    return importlib.util.find_spec(PACKAGES.get(judge, judge)) is not None


@dataclass
class Bench:
    """Those who judge a case: each is asked when its answer is needed.

    Attributes:
        case: What is judged.
        judges: Who is asked, in this order; but those with a fault on record come last.
        faults: Those that count.
        silent: Why some have no answer.
        met: Faults that keep some from judging.
        not_applied: See `Outcome`.
    """

    case: Case
    judges: Sequence[Runtime]
    faults: Sequence[Fault] | None
    silent: list[str] = field(default_factory=list)
    met: list[Fault] = field(default_factory=list)
    not_applied: list[Fault] = field(default_factory=list)

    def fault_of(self, runtime: Runtime) -> Fault | None:
        """The fault on record that makes a runtime's answer to the case worth nothing, or part."""
        met = faults_met(self.case, [runtime.name], self.faults)
        for fault in sorted(met, key=lambda fault: fault.nonfinite):
            if fault.applies:
                return fault
            self.not_applied.append(fault)
        return None

    def answers(self) -> Iterator[Answer]:
        """The judges that have an answer, with it and their fault on record."""
        known = {judge.name: self.fault_of(judge) for judge in self.judges}
        worthless = {
            name: fault is not None and not fault.nonfinite for name, fault in known.items()
        }
        for judge in sorted(self.judges, key=lambda judge: worthless[judge.name]):
            fault = known[judge.name]
            try:
                yield judge.name, outputs_of(judge, self.case), fault
            except Exception as error:
                self.silent.append(f"{judge.name}: {one_line(error)}")
                self.met += [fault] if fault else []


def compare(
    case: Case,
    runtime: Runtime | str = "onnxla",
    against: Judges | None = None,
    faults: Sequence[Fault] | None = None,
) -> Outcome:
    """Runs a case in a runtime, and compares its outputs with what others say.

    The first judge that has an answer decides; the next ones are asked where the runtime disagrees
    with it, and confirm the expected value or not. One with a fault on record is asked last.

    For example:

        case = onnxla.testing.example("Neg", 13, x)
        outcome = onnxla.testing.compare(case, "onnxla", "reference")
        assert outcome.kind == "agreed"

    Args:
        case: What to run.
        runtime: The one under test, or its name.
        against: Those that it is compared with, or their names; by default those of
            `JUDGES` that are installed, but itself.
        faults: Known faults of all of them; by default those that onnxla has on record.
    """
    tested = runtime_of(runtime)
    bench = Bench(case, judges_of(against, tested), faults)
    own = bench.fault_of(tested)
    try:
        reason = refusal(tested, case.model, own_inputs(case))
    except (Exception, SystemExit) as error:
        return Outcome("failed", f"{tested.name}: `supports` raises {one_line(error)}")
    if reason is not None:
        return Outcome("unsupported", f"{tested.name}: {reason}")
    answers = bench.answers()
    judge, expected, theirs = next(answers, ("", None, None))
    judges: tuple[str, ...] = (judge,) if judge else ()

    def outcome(
        kind: Kind, detail: str, *met: Fault | None, crashed: bool = False, finite: bool = False
    ) -> Outcome:
        if fault := next((f for f in met if f and (finite or not f.nonfinite)), None):
            return Outcome("known fault", detail, fault, judges=judges, crashed=crashed)
        return Outcome(kind, detail, None, next(iter(bench.not_applied), None), judges, crashed)

    if expected is None:
        return outcome("not judged", "; ".join(bench.silent) or "there is no judge", *bench.met)
    try:
        got = outputs_of(tested, case)
    except (Exception, SystemExit) as error:
        if is_refusal(error):
            return Outcome("unsupported", f"{tested.name}: {one_line(error)}")
        detail, crashed = f"{tested.name}: {one_line(error)}", isinstance(error, RuntimeCrashed)
        return outcome("failed", detail, own, theirs, crashed=crashed)
    if not (detail := output_difference(case, got, expected)):
        return Outcome("agreed", judges=judges)
    rest = replace(case.tolerance, nonfinite=True)
    finite = not output_difference(case, got, expected, rest)
    for other, values, fault in answers:
        if fault is None and not output_difference(case, got, values):
            text = f"{detail} as in {judge}; {other} agrees with {tested.name}"
            return outcome("judges differ", text, own, theirs, finite=finite)
        if not output_difference(case, values, expected):
            judges += (other,)
    return outcome("disagreed", detail, own, theirs, finite=finite)


def judge_answer(case: Case, runtime: Runtime, expected: Sequence[Any]) -> Outcome:
    """What came of a case whose outputs are known."""

    class Known:
        name = "expected"

        def run(self, model: bytes, inputs: Any) -> list[Any]:
            return list(expected)

    return compare(case, runtime, Known())


def outputs_of(runtime: Runtime, case: Case) -> list[Any]:
    """The outputs that a runtime gives.

    Raises:
        RuntimeFailed: It gives something else. What the runtime raises is raised, too.
    """
    outputs = runtime.run(case.model, own_inputs(case))
    if not isinstance(outputs, list | tuple):
        raise RuntimeFailed(f"`run` gives {type(outputs).__name__}, not a list of outputs")
    return list(outputs)


def own_inputs(case: Case) -> dict[str, Any]:
    """A case's inputs for one runtime, which may write into them: the next one must not see it."""
    return copy.deepcopy(dict(case.inputs))


def check(
    case: Case,
    runtime: Runtime | str = "onnxla",
    against: Judges | None = None,
    faults: Sequence[Fault] | None = None,
    save: str | Path | None = None,
) -> Outcome:
    """Asserts that a runtime agrees with what others say about a case.

    For example:

        onnxla.testing.check(onnxla.testing.example("Neg", 13, x), "onnxla", "reference")

    Args:
        case: What to run.
        runtime: The one under test, or its name.
        against: Those that it is compared with, or their names; see `compare`.
        faults: Known faults of all of them, which do not count; by default those on record.
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
        raise Disagreement(case, runtime_of(runtime).name, outcome)
    return outcome


def output_difference(
    case: Case, got: Sequence[Any], expected: Sequence[Any], tolerance: Tolerance | None = None
) -> str:
    """How outputs differ from those expected, in one line; empty if they agree."""
    if len(got) != len(expected):
        return f"{len(got)} outputs, not {len(expected)}"
    names = [value.name for value in case.proto.graph.output]
    for name, ours, theirs in zip(names, got, expected, strict=True):
        if not (found := difference(ours, theirs, tolerance or case.tolerance)).ok:
            return f"output '{name}': {found}"
    return ""


LONGEST = 2000  # letters of an error


def one_line(error: BaseException) -> str:
    """An error's type and message in one line; of a long one the middle is left out.

    The text of `RuntimeFailed` has the type of the runtime's own error.
    """
    told = str(error) if isinstance(error, RuntimeFailed) else error_text(error)
    text = " ".join(told.split())
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"
