"""Draws many cases of operators, runs them in two runtimes, and reports what came of them."""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import jax
from hypothesis import HealthCheck, Phase, settings

from onnxla.ops.table import full_name
from onnxla.peers.protocol import Runtime
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.gradients import compare_gradients
from onnxla.testing.operator_cases import cases
from onnxla.testing.outcomes import WRONG, Disagreement, Outcome, compare
from onnxla.testing.properties import judge


@dataclass
class Fuzzed:
    """What came of the cases of one operator.

    Attributes:
        op_type: The operator's name.
        counts: Cases by the kind of `Outcome`.
        details: An example of each kind but `agreed`: what the runtimes say.
        known: Cases by known fault, told in one line.
        not_applied: Cases by a fault that is known, but of other versions or machines than these.
        case: The simplest case found that disagrees or fails, if any.
        wrong: What came of it, in one line; else empty.
        reproducer: The case in one line and as a script; else empty.
        seconds: How long it took.
    """

    op_type: str
    domain: str = ""
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    details: dict[str, str] = field(default_factory=dict)
    known: collections.Counter[str] = field(default_factory=collections.Counter)
    not_applied: collections.Counter[str] = field(default_factory=collections.Counter)
    case: Case | None = None
    wrong: str = ""
    reproducer: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The operator's name, with its domain if that is not ONNX's own."""
        return full_name(self.op_type, self.domain)

    @property
    def ok(self) -> bool:
        """Whether no case disagreed or failed."""
        return not any(self.counts[kind] for kind in WRONG)

    def add(self, outcome: Outcome, case: Case) -> None:
        """Counts what came of a case."""
        self.counts[outcome.kind] += 1
        if outcome.kind != "agreed":
            self.details.setdefault(outcome.kind, f"{outcome.detail} -- {case!r}")
        if outcome.fault is not None:
            self.known[outcome.fault.title] += 1
        if (fault := outcome.not_applied) is not None:
            self.not_applied[f"{fault.title} ({fault.elsewhere})"] += 1

    def fail(self, case: Case, text: str) -> None:
        """Keeps the case that fails, and how it does."""
        self.case, self.wrong = case, text
        self.reproducer = f"{case!r}\n\n{case.script()}"


def fuzz(
    op_type: str,
    runtime: Runtime | str = "onnxla",
    against: Runtime | str = "reference",
    *,
    examples: int = 100,
    seed: int = 0,
    opset: int | None = None,
    domain: str = "",
    dtypes: Sequence[Any] | None = None,
    specials: bool = False,
    faults: Sequence[Fault] | None = None,
    progress: Callable[[Outcome], Any] | None = None,
) -> Fuzzed:
    """Compares two runtimes on cases of an operator.

    All cases are run first; if one disagrees, the simplest one is then searched for.

    Args:
        op_type: The operator's name.
        runtime: The runtime under test, or its name.
        against: The one that it is compared with, or its name; or `properties`: then onnxla is
            compared with itself, as `PROPERTIES` say; or `gradients`: then the runtime's are
            compared with those of onnxla, as by `compare_gradients`.
        examples: How many cases.
        seed: The same one draws the same cases, with the same version of Hypothesis.
        opset: See `cases`, as for `domain`, `dtypes` and `specials`.
        domain: The operator's domain.
        dtypes: Dtypes of the operands.
        specials: Whether NaN, infinities and extremes occur.
        faults: Known faults; by default those on record.
        progress: Called after each case.
    """
    strategy = cases(op_type, opset, domain, dtypes, specials)
    result = Fuzzed(op_type, domain)
    start = time.perf_counter()
    outcome_of: Callable[[Case], Outcome] = functools.partial(
        compare, runtime=runtime, against=against, faults=faults
    )
    if against == "properties":
        outcome_of = judge
    elif against == "gradients":
        outcome_of = functools.partial(compare_gradients, runtime=runtime)

    def tally(case: Case) -> None:
        outcome = outcome_of(case)
        result.add(outcome, case)
        if progress is not None:
            progress(outcome)

    def search(case: Case) -> None:
        outcome = outcome_of(case)
        if outcome.kind in WRONG:
            raise Disagreement(case, "", "", outcome)

    draw_examples(strategy, tally, examples, seed, (Phase.generate,))
    if not result.ok:
        try:
            draw_examples(strategy, search, examples, seed, (Phase.generate, Phase.shrink))
        except Disagreement as found:
            result.fail(found.case, f"{found.outcome.kind}: {found.outcome.detail}")
    result.seconds = time.perf_counter() - start
    forget_programs()
    return result


# A small program takes about a megabyte.
PROGRAMS = 1000


def forget_programs() -> None:
    """Frees JAX's compiled programs if there are many; until then operators share small ones."""
    if len(jax.devices()[0].client.live_executables()) > PROGRAMS:
        jax.clear_caches()


def draw_examples(
    strategy: Any,
    body: Callable[[Case], None],
    examples: int,
    seed: int,
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
) -> None:
    """Calls `body` on examples of a strategy, the same ones for the same seed."""
    chosen = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=phases,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        verbosity=hypothesis.Verbosity.quiet,
    )

    @hypothesis.seed(seed)
    @chosen
    @hypothesis.given(strategy)
    def run(case: Case) -> None:
        body(case)

    run()


def sample(strategy: Any, examples: int = 10, seed: int = 0) -> list[Any]:
    """Examples of a strategy, for looking at them; the simplest one first."""
    drawn: list[Any] = []
    draw_examples(strategy, lambda case: drawn.append(case), examples, seed, (Phase.generate,))
    return drawn
