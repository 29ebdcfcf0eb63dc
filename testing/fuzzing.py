"""Draws many cases, runs them in a runtime and those that judge it, and tells findings."""

from __future__ import annotations

import base64
import collections
import functools
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import hypothesis
import jax
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.strategies import SearchStrategy

from onnxla.ops.table import full_name
from onnxla.peers.protocol import Runtime
from onnxla.testing.case import Case
from onnxla.testing.element_types import element_type
from onnxla.testing.fault_records import Fault
from onnxla.testing.findings import FailureSignature, Finding, signature_of, without_explained
from onnxla.testing.gradients import compare_gradients
from onnxla.testing.invalid_uses import refused
from onnxla.testing.operator_cases import cases
from onnxla.testing.outcomes import (
    NOT_COMPARED,
    WRONG,
    Disagreement,
    Judges,
    Outcome,
    compare,
    judges_of,
    runtime_of,
)
from onnxla.testing.properties import judge
from onnxla.testing.refusals import ForbiddenCase, compare_refusal
from onnxla.testing.wanted import Wanted, arrays_of

MOST = 8  # findings of an operator
CRASHES = 5  # in a row, after which no further case of an operator is run
SHRINKING = 60.0  # seconds that the search for a simplest case may take
WAYS = ("properties", "gradients", "refusals")  # in the place of judges
# Why not all cases were run, so that it is worth going on.
LATE, INTERRUPTED = "out of time", "interrupted"


@dataclass
class Fuzzed:
    """What came of the cases of one operator.

    For example:

        result = onnxla.testing.fuzz("Neg", "onnxla", "reference", examples=5)
        print(result.counts, [finding.title for finding in result.findings])

    Attributes:
        name: The operator's name, with its domain if that is not ONNX's own; or what else the cases
            are of.
        counts: Cases by the kind of `Outcome`.
        judged: Cases that agreed, by who judged them.
        details: An example of each kind but `agreed`: what the runtimes say.
        reasons: Cases that were not compared, by kind and what the runtimes say.
        by_type: Cases by schema version, dtype (see `element_type`) and kind of outcome.
        known: Cases by known fault, told in one line.
        not_applied: Cases by a fault that is known, but of other versions or machines than these.
        findings: Failures, each by its simplest case.
        further: Cases that fail and that no finding explains, because there are too many findings.
        cut: Why not all cases were run; else empty.
        seconds: How long it took.
    """

    name: str
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    judged: collections.Counter[str] = field(default_factory=collections.Counter)
    details: dict[str, str] = field(default_factory=dict)
    reasons: collections.Counter[str] = field(default_factory=collections.Counter)
    by_type: collections.Counter[str] = field(default_factory=collections.Counter)
    known: collections.Counter[str] = field(default_factory=collections.Counter)
    not_applied: collections.Counter[str] = field(default_factory=collections.Counter)
    findings: list[Finding] = field(default_factory=list)
    further: int = 0
    cut: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no case disagreed or failed."""
        return not any(self.counts[kind] for kind in WRONG)

    def add(self, outcome: Outcome, case: Case) -> None:
        """Counts what came of a case."""
        self.counts[outcome.kind] += 1
        self.by_type[f"{case.version} {element_type(case)} {outcome.kind}"] += 1
        if outcome.kind in NOT_COMPARED:
            self.reasons[f"{outcome.kind}: {outcome.detail}"] += 1
        if outcome.kind == "agreed":
            self.judged.update(outcome.judges)
        else:
            self.details.setdefault(outcome.kind, f"{outcome.detail} -- {case!r}")
        if outcome.fault is not None:
            self.known[outcome.fault.title] += 1
        if (fault := outcome.not_applied) is not None:
            self.not_applied[f"{fault.title} ({fault.elsewhere})"] += 1

    def record(self) -> dict[str, Any]:
        """All of it in types that JSON has."""
        found = {k: v for k, v in vars(self).items() if k != "findings"}
        return {**found, "findings": [record_of(finding) for finding in self.findings]}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Fuzzed:
        """What `record` was made of."""
        counters = ("counts", "judged", "reasons", "by_type", "known", "not_applied")
        found = {**record, **{name: collections.Counter(record[name]) for name in counters}}
        return cls(**{**found, "findings": list(map(finding_of, record["findings"]))})


def record_of(finding: Finding) -> dict[str, Any]:
    """A finding in types that JSON has; the case is a `.npz` file in base64."""
    signature = asdict(finding.signature)
    signature["features"] = sorted(finding.signature.features)
    case = base64.b64encode(finding.case.to_bytes()).decode()
    judges = list(finding.judges)
    return {**vars(finding), "signature": signature, "case": case, "judges": judges}


def finding_of(record: Mapping[str, Any]) -> Finding:
    """The finding that `record_of` tells."""
    signature = FailureSignature(**record["signature"])
    signature = replace(signature, features=frozenset(signature.features))
    case = Case.from_bytes(base64.b64decode(record["case"]))
    further = {"signature": signature, "case": case, "judges": tuple(record["judges"])}
    return Finding(**{**record, **further})


class Enough(BaseException):
    """No further case is to be run: not an `Exception`, which would count as a failing case."""


def fuzz(
    op_type: str,
    runtime: Runtime | str = "onnxla",
    against: Judges | None = None,
    *,
    domain: str = "",
    **options: Any,
) -> Fuzzed:
    """Compares a runtime with those that judge it, on cases of an operator.

    For example:

        result = onnxla.testing.fuzz("Neg", "onnxla", "reference", examples=5)
        assert result.ok

    Args:
        op_type: The operator's name.
        runtime: See `fuzz_cases`, as for `against`.
        against: See there; or `refusals`: then the cases are uses that the schema forbids, and the
            runtime is asked whether it refuses them, as by `refuses`.
        domain: The operator's domain.
        **options: Those of `cases`, such as `opset` and `dtypes`; and the others of `fuzz_cases`,
            such as `examples` and `seed`.
    """
    drawn = {each.name: options.pop(each.name) for each in fields(Wanted) if each.name in options}
    strategy: SearchStrategy[Any]
    if against == "refusals":
        strategy = refused(op_type, drawn.get("opset"), domain).map(ForbiddenCase.of)
    else:
        strategy = cases(op_type, domain=domain, **drawn)
    return fuzz_cases(strategy, full_name(op_type, domain), runtime, against, **options)


def fuzz_cases(
    strategy: SearchStrategy[Case],
    name: str,
    runtime: Runtime | str = "onnxla",
    against: Judges | None = None,
    *,
    examples: int = 100,
    seed: int = 0,
    faults: Sequence[Fault] | None = None,
    progress: Callable[[Outcome], Any] | None = None,
    most: int = MOST,
    until: float | None = None,
    pressed: Callable[[], bool] = lambda: False,
    database: str | Path | None = None,
) -> Fuzzed:
    """Compares a runtime with those that judge it, on cases that a strategy draws.

    All cases are run first. If some are wrong, the simplest one is searched for; if others are left
    that it does not explain, the simplest of these; and so on.

    Args:
        strategy: Draws cases.
        name: What the cases are of.
        runtime: The runtime under test, or its name.
        against: Those that judge, or their names (see `compare`); or `properties`: then the runtime
            is compared with itself, as by `judge`; or `gradients`: then the runtime's are compared
            with those of onnxla, as by `compare_gradients`.
        examples: How many cases, of which no two are the same.
        seed: The same one draws the same cases, with the same version of Hypothesis; other ones
            for another name.
        faults: Known faults; by default those on record.
        progress: Called after each case.
        most: How many findings are searched for.
        until: The time (`time.monotonic`) at which no further case is run.
        pressed: Tells whether somebody has pressed Ctrl-C, so that none is run either.
        database: A folder in which cases that fail are kept, as Hypothesis does, to be tried first
            next time.
    """
    outcome_of = way_of(runtime, against, faults)
    result = Fuzzed(name)
    own = seed_of(name, seed)
    soon = None
    if not (isinstance(against, str) and against in WAYS):
        judges = judges_of(against, runtime_of(runtime))
        reference = next((judge for judge in judges if judge.name == "reference"), None)
        if reference is not None:  # which compiles nothing
            soon = functools.partial(outcome_soon, outcome_of, way_of(runtime, reference, faults))
    search = Search(strategy, outcome_of, result, examples, own, until, pressed, database, soon)
    return search.run(most, progress)


def seed_of(name: str, seed: int) -> int:
    """What the cases of a name are drawn from: other ones for another name."""
    return zlib.crc32(f"{seed} {name}".encode())


def way_of(
    runtime: Runtime | str, against: Judges | None, faults: Sequence[Fault] | None = None
) -> Callable[[Case], Outcome]:
    """What tells the outcome of a case: see `fuzz_cases`."""
    if against == "properties":
        return functools.partial(judge, runtime=runtime)
    if against == "refusals":
        return functools.partial(compare_refusal, runtime=runtime)
    if against == "gradients":
        return functools.partial(compare_gradients, runtime=runtime)
    return functools.partial(compare, runtime=runtime, against=against, faults=faults)


def outcome_soon(
    outcome_of: Callable[[Case], Outcome], by_one: Callable[[Case], Outcome], case: Case
) -> Outcome:
    """What one judge says, or all of them where that one has no answer that counts."""
    outcome = by_one(case)
    return outcome if outcome.kind in (*WRONG, "agreed", "unsupported") else outcome_of(case)


@dataclass
class Search:
    """The search for what a runtime does wrong on cases of a strategy.

    Attributes:
        strategy: Draws cases.
        outcome_of: Runs one.
        result: What came of the cases so far.
        examples: How many are drawn.
        seed: What they are drawn from.
        until: See `fuzz_cases`, as for `pressed` and `database`.
        soon: Tells the outcome of a case, mostly faster than `outcome_of`, which confirms it.
    """

    strategy: Any
    outcome_of: Callable[[Case], Outcome]
    result: Fuzzed
    examples: int
    seed: int
    until: float | None = None
    pressed: Callable[[], bool] = lambda: False
    database: str | Path | None = None
    soon: Callable[[Case], Outcome] | None = None

    def __post_init__(self) -> None:
        self.outcomes: dict[bytes, Outcome] = {}  # by the digest of a case
        self.failures: collections.Counter[FailureSignature] = collections.Counter()
        self.first: dict[FailureSignature, Finding] = {}  # the smallest as drawn

    def run(self, most: int, progress: Callable[[Outcome], Any] | None = None) -> Fuzzed:
        """Runs all cases, then searches for the simplest of those that fail."""
        start = time.perf_counter()
        phases = Phase.reuse, Phase.generate
        try:
            self.draw(functools.partial(self.tally, progress), self.examples, phases)
        except Enough as reason:
            self.result.cut = str(reason)
        except KeyboardInterrupt:
            self.result.cut = INTERRUPTED
        findings: list[Finding] = []
        while len(findings) < most and (left := self.unexplained(findings)):
            found = self.simplest(left[0], findings) or self.first[left[0]]
            findings.append(self.told_if_it_changes(found))
        findings = without_explained(findings)
        for signature, count in self.failures.items():
            by = next((f for f in findings if f.signature.explains(signature)), None)
            if by is not None:
                by.count += count
            else:
                self.result.further += count
        self.result.findings = sorted(findings, key=lambda finding: -finding.count)
        self.result.seconds = time.perf_counter() - start
        forget_programs()
        return self.result

    def draw(self, body: Callable[[Case], None], examples: int, phases: Sequence[Phase]) -> None:
        """Calls a function of a case on some."""
        folder = None if self.database is None else Path(self.database) / self.result.name
        draw_examples(self.strategy, body, examples, self.seed, phases, folder)

    def tally(self, progress: Callable[[Outcome], Any] | None, case: Case) -> None:
        """Runs a case that was not drawn before, and counts what came of it."""
        if case.digest in self.outcomes:
            hypothesis.reject()
        if self.late:
            raise Enough(LATE)
        if self.pressed():
            raise Enough(INTERRUPTED)
        outcome = self.outcomes[case.digest] = self.outcome_of(case)
        self.result.add(outcome, case)
        if outcome.kind in WRONG:
            signature = signature_of(case, outcome)
            self.failures[signature] += 1
            finding = Finding(signature, case, outcome.detail, outcome.judges)
            before = self.first.setdefault(signature, finding)
            if size_of(case) < size_of(before.case):
                self.first[signature] = finding
        if progress is not None:
            progress(outcome)
        last = [*self.outcomes.values()][-CRASHES:]
        if len(last) == CRASHES and all(each.crashed for each in last):
            raise Enough(f"{CRASHES} cases in a row took the runtime down: {outcome.detail}")

    @property
    def late(self) -> bool:
        """Whether no further case is to be run."""
        return self.until is not None and time.monotonic() > self.until

    @property
    def over(self) -> bool:
        """Whether nobody waits for simpler cases."""
        return self.late or self.pressed() or self.result.cut == INTERRUPTED

    def told_if_it_changes(self, finding: Finding) -> Finding:
        """A finding, which says so where a second run of its case ends otherwise."""
        if self.over or (again := self.outcome_of(finding.case)).kind == finding.signature.outcome:
            return finding
        text = f"{finding.detail} -- but not each time: a second run of it has '{again.kind}'"
        return replace(finding, detail=text)

    def unexplained(self, findings: Sequence[Finding]) -> list[FailureSignature]:
        """Failures that findings do not explain, the most frequent first."""
        often = (signature for signature, _ in self.failures.most_common())
        return [s for s in often if not any(each.signature.explains(s) for each in findings)]

    def simplest(
        self, like: FailureSignature, findings: Sequence[Finding], soon: bool = True
    ) -> Finding | None:
        """The simplest case that fails like one, and that findings do not explain, if it is found.

        It fails in the same place, and is no larger than the smallest one that was drawn: large
        arrays are drawn from a seed, and do not shrink well.
        """
        if self.over:
            return None
        limit = time.monotonic() + SHRINKING
        least = min(
            size_of(self.first[s].case) for s in self.unexplained(findings) if is_like(s, like)
        )
        outcome_of = (self.soon if soon else None) or self.outcome_of
        outcomes = {} if outcome_of is self.soon else self.outcomes
        again, drawn = False, set[bytes]()

        def search(case: Case) -> None:
            nonlocal again
            if again and case.digest in drawn:
                hypothesis.reject()
            drawn.add(case.digest)
            outcome = self.outcomes.get(case.digest) or outcomes.get(case.digest)
            if outcome is None:
                if self.over or time.monotonic() > limit:
                    return
                outcome = outcomes[case.digest] = outcome_of(case)
            if outcome.kind not in WRONG:
                return
            signature = signature_of(case, outcome)
            alike = is_like(signature, like) and size_of(case) <= least
            if alike and not any(each.signature.explains(signature) for each in findings):
                again = False  # it is simplified now, and cases may come twice
                raise Disagreement(case, "", outcome)

        try:
            # More, since cases that were drawn twice count here.
            phases = Phase.reuse, Phase.generate, Phase.shrink
            self.draw(search, 10 * self.examples, phases)
            # These have none that fails. So those of before, which `tally` drew without repeats.
            again = True
            drawn.clear()
            self.draw(search, self.examples, phases)
        except KeyboardInterrupt:
            self.result.cut = INTERRUPTED
        except Disagreement as found:
            case, outcome = found.case, found.outcome
            if outcome_of is self.soon:
                outcome = self.outcomes[case.digest] = self.outcome_of(case)
                if outcome.kind not in WRONG:  # the one judge was wrong
                    return self.simplest(like, findings, soon=False)
            signature = signature_of(case, outcome)
            return Finding(signature, case, outcome.detail, outcome.judges)
        return None


def is_like(one: FailureSignature, other: FailureSignature) -> bool:
    """Whether two failures are in the same place."""
    return (one.outcome, one.place) == (other.outcome, other.place)


def size_of(case: Case) -> int:
    """How many numbers a case has."""
    stored = sum(math.prod(tensor.dims) for tensor in case.proto.graph.initializer)
    return stored + sum(array.size for array in arrays_of(case.inputs.values()))


# A small program takes about a megabyte.
PROGRAMS = 1000


def forget_programs() -> None:
    """Frees JAX's compiled programs if there are many; until then operators share small ones."""
    if len(jax.devices()[0].client.live_executables()) > PROGRAMS:
        jax.clear_caches()


class KeptFailures(DirectoryBasedExampleDatabase):
    """Cases that failed once: those that do not fail, or not in this place, are kept too."""

    def delete(self, key: bytes, value: bytes) -> None:
        """Keeps it."""

    def move(self, src: bytes, dest: bytes, value: bytes) -> None:
        """Forgets a case for which there is a simpler one."""
        super().delete(src, value)


def draw_examples(
    strategy: Any,
    body: Callable[[Case], None],
    examples: int,
    seed: int,
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
    database: Path | None = None,
) -> None:
    """Calls `body` on examples of a strategy, the same ones for the same seed."""
    chosen = settings(
        max_examples=examples,
        database=None if database is None else KeptFailures(database),
        deadline=None,
        derandomize=False,
        phases=phases,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.nested_given,
        ],
        verbosity=hypothesis.Verbosity.quiet,
    )

    @chosen  # after the seed, which would take its database
    @hypothesis.seed(seed)
    @hypothesis.given(strategy)
    def run(case: Case) -> None:
        body(case)

    run()


def sample(strategy: Any, examples: int = 10, seed: int = 0) -> list[Any]:
    """Examples of a strategy, for looking at them; the simplest one first.

    For example:

        cases = onnxla.testing.sample(onnxla.testing.cases("Neg"), 3)
    """
    drawn: list[Any] = []
    draw_examples(strategy, lambda case: drawn.append(case), examples, seed, (Phase.generate,))
    return drawn
