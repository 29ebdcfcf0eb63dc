"""What came of fuzzing some operators, and its sums."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from onnxla.testing.baselines import Applied, Baseline, KnownFailure, findings_of
from onnxla.testing.findings import Finding
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.outcomes import NOT_COMPARED, WRONG
from onnxla.testing.reports.about import About
from onnxla.testing.reports.kinds import amount, cases
from onnxla.testing.reports.reasons import Reason, reasons
from onnxla.testing.version_ranges import apart


@dataclass(frozen=True)
class FuzzResults:
    """What came of fuzzing some operators.

    Attributes:
        runtime: Name of the runtime under test.
        judges: Names of those that it was compared with; `properties` if with itself.
        results: One for each operator.
        seed: What the cases were drawn from.
        about: Versions, machine, command line and time.
        baseline: Failures that are known, and do not count.
    """

    runtime: str
    judges: Sequence[str]
    results: Sequence[Fuzzed]
    seed: int = 0
    about: About = field(default_factory=About)
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        if self.baseline is not None and not self.baseline.of(self.runtime):
            raise ValueError(
                f"the baseline is of '{self.baseline.runtime}', and the report of '{self.runtime}'"
            )

    @functools.cached_property
    def applied(self) -> Applied:
        """What the baseline says."""
        return self.baseline.apply(self.results, **self.where) if self.baseline else Applied()

    def updated_baseline(self) -> Baseline:
        """The baseline with the failures of this report; see `Baseline.update`."""
        before = self.baseline or Baseline(apart(self.runtime)[0])
        return before.update(self.results, **self.where)

    @property
    def where(self) -> dict[str, str]:
        """The runtime's version and the system, if they are known."""
        found = {"version": self.about.versions.get(self.runtime), "system": self.about.system}
        return {name: text for name, text in found.items() if text}

    @property
    def findings(self) -> list[Finding]:
        """Those of all operators."""
        return findings_of(self.results)

    def known_failure(self, finding: Finding) -> KnownFailure | None:
        """The entry of the baseline that explains a finding; None if it is unexpected."""
        return self.applied.expected.get(finding.signature)

    def unexpected(self, result: Fuzzed) -> list[Finding]:
        """Findings of an operator that the baseline does not explain."""
        return [finding for finding in result.findings if self.known_failure(finding) is None]

    def untold(self, result: Fuzzed) -> int:
        """How many cases of an operator fail for which there is no finding."""
        wrong = sum(result.counts[kind] for kind in WRONG)
        told = sum(finding.count for finding in result.findings)
        return max(result.further, wrong - told)

    def fails(self, result: Fuzzed) -> bool:
        """Whether an operator fails otherwise than the baseline says."""
        return bool(self.unexpected(result) or self.untold(result))

    @property
    def ok(self) -> bool:
        """Whether cases were compared, none failed unexpectedly, and the baseline is up to date."""
        failed = any(map(self.fails, self.results))
        return not failed and not self.applied.stale and bool(self.compared)

    @property
    def compared(self) -> int:
        """How many operators have a case that was compared."""
        return len(self.results) - len(self.not_compared)

    @property
    def not_compared(self) -> list[Fuzzed]:
        """Operators without a case that was compared."""
        return [
            result
            for result in self.results
            if not any(n for kind, n in result.counts.items() if kind not in NOT_COMPARED)
        ]

    @property
    def cut(self) -> list[Fuzzed]:
        """Operators whose cases were not all run."""
        return [result for result in self.results if result.cut]

    @property
    def counts(self) -> collections.Counter[str]:
        """Cases of all operators, by the kind of `Outcome`."""
        return sum((result.counts for result in self.results), collections.Counter())

    @property
    def judged(self) -> collections.Counter[str]:
        """Cases that agreed, by who judged them."""
        return sum((result.judged for result in self.results), collections.Counter())

    @property
    def known(self) -> collections.Counter[str]:
        """How many cases met each fault on record."""
        return sum((result.known for result in self.results), collections.Counter())

    @property
    def not_applied(self) -> collections.Counter[str]:
        """How many cases met a fault on record of other versions than those installed."""
        return sum((result.not_applied for result in self.results), collections.Counter())

    def reasons(self, kind: str) -> list[Reason]:
        """Why cases are `unsupported` or `not judged`, the most frequent reason first."""
        return reasons(self.results, kind, [self.runtime, *self.judges])

    @property
    def title(self) -> str:
        """What was done, and what came of it, in one line."""
        against = " and ".join(self.judges)
        return (
            f"{self.runtime} against {against}: {cases(self.counts.total())} of "
            f"{amount(len(self.results), 'operator')}, seed {self.seed}: {self.verdict}"
        )

    @property
    def verdict(self) -> str:
        """What came of it, in one line."""
        if not self.compared:
            return "no case could be compared"
        failing = [result for result in self.results if self.fails(result)]
        found = sum(len(self.unexpected(result)) for result in failing)
        untold = sum(map(self.untold, failing))
        parts = ["all agree"]
        if failing:
            fail = f"{len(failing)} of {amount(len(self.results), 'operator')} fail"
            parts = [f"{fail}, {amount(found, 'finding')}"]
        elif self.applied.expected:
            parts = ["nothing new"]
        if untold:
            parts.append(f"{amount(untold, 'failure')} without a finding")
        if self.applied.expected:
            parts.append(f"{amount(len(self.applied.expected), 'finding')} as the baseline says")
        if self.applied.stale:
            stale = amount(len(self.applied.stale), "entry", "entries")
            parts.append(f"{stale} of the baseline without a failure")
        if self.cut:
            parts.append(f"{amount(len(self.cut), 'operator')} cut short")
        if self.not_compared:
            parts.append(f"but {len(self.not_compared)} that no case could compare")
        return ", ".join(parts)
