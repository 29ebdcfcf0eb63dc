"""Baselines: the failures of a runtime that are known, in a file beside its source."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from onnxla.testing.fault_records import PACKAGES
from onnxla.testing.findings import FailureSignature, Finding
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.version_ranges import apart, installed, within

PLATFORMS = ("linux", "darwin", "win32")  # as `sys.platform` names them


@dataclass(frozen=True)
class KnownFailure:
    """A failure that is known: an entry of a baseline.

    Attributes:
        signature: What is remarkable about its simplest case. It explains those that have all of
            that: see `FailureSignature.explains`.
        note: Why it fails, or where that is told; for readers.
        versions: Which versions of the runtime have it, such as `>=1.20,<1.33`. All, if empty.
        platform: The system that has it: `linux`, `darwin` or `win32`. All, if empty.
    """

    signature: FailureSignature
    note: str = ""
    versions: str = ""
    platform: str = ""

    def __post_init__(self) -> None:
        within("0", self.versions)  # is a range
        if self.platform and self.platform not in PLATFORMS:
            raise ValueError(f"platform is one of {', '.join(PLATFORMS)}, got '{self.platform}'")

    def holds(self, version: str | None, system: str) -> bool:
        """Whether a version of the runtime has it on a system, as far as that is known."""
        right = not self.versions or version is None or within(version, self.versions)
        return right and self.platform in ("", system)

    def record(self) -> dict[str, Any]:
        """The entry as JSON has it; conditions only where there are some."""
        features = sorted(self.signature.features)
        conditions = {"versions": self.versions, "platform": self.platform}
        found = {**asdict(self.signature), "features": features, "note": self.note}
        return {**found, **{name: text for name, text in conditions.items() if text}}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> KnownFailure:
        """The entry that `record` tells.

        Raises:
            ValueError: Something is missing, of another type, or unknown.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"it is no object, but {record!r}")
        types = {"operator": str, "version": int, "outcome": str, "place": str, "features": list}
        optional = {"note": str, "versions": str, "platform": str}
        for name, value in record.items():
            if (kind := {**types, **optional}.get(name)) is None:
                raise ValueError(f"an entry has no '{name}'")
            if not isinstance(value, kind):
                raise ValueError(f"'{name}' is of type {kind.__name__}, got {value!r}")
        if missing := [name for name in types if name not in record]:
            raise ValueError(f"'{missing[0]}' is missing")
        if not all(isinstance(feature, str) for feature in record["features"]):
            raise ValueError(f"'features' are texts, got {record['features']!r}")
        said = {name: record[name] for name in types}
        signature = FailureSignature(**{**said, "features": frozenset(record["features"])})
        return cls(signature, **{name: record[name] for name in optional if name in record})


@dataclass(frozen=True)
class Applied:
    """What a baseline says of some results.

    Attributes:
        expected: The entry that explains each of the failures that one does explain.
        stale: Entries that hold, of operators and versions that were run, but explain nothing.
    """

    expected: Mapping[FailureSignature, KnownFailure] = field(default_factory=dict)
    stale: Sequence[KnownFailure] = ()


@dataclass(frozen=True)
class Baseline:
    """The failures of a runtime that are known.

    For example:

        onnxla.testing.Baseline("reference").save("baseline.json")
        assert onnxla.testing.Baseline.load("baseline.json").of("reference")

    Attributes:
        runtime: The runtime's name, without its version.
        failures: One entry for each.
    """

    runtime: str
    failures: Sequence[KnownFailure] = ()

    def of(self, runtime: str) -> bool:
        """Whether it is the one of a runtime, in any of its versions."""
        return apart(self.runtime)[0] == apart(runtime)[0]

    @property
    def most(self) -> int:
        """How many entries the operator has that has most."""
        return max(Counter(e.signature.operator for e in self.failures).values(), default=0)

    @classmethod
    def load(cls, path: str | Path) -> Baseline:
        """Reads a file that `save` wrote, or a person.

        Raises:
            ValueError: It is no baseline; the message names the entry.
        """
        try:
            record = json.loads(Path(path).read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"'{path}' is no JSON file: {error}") from error
        wrong = f"'{path}' is no baseline: it needs the texts and lists `runtime` and `failures`"
        if not isinstance(record, dict) or {*record} != {"runtime", "failures"}:
            raise ValueError(wrong)
        runtime, entries = record["runtime"], record["failures"]
        if not isinstance(runtime, str) or not isinstance(entries, list):
            raise ValueError(wrong)
        failures = []
        for number, entry in enumerate(entries, 1):
            try:
                failures.append(KnownFailure.of_record(entry))
            except ValueError as error:
                raise ValueError(f"'{path}', entry {number}: {error}") from error
        return cls(runtime, failures)

    def save(self, path: str | Path) -> None:
        """Writes the file: sorted, each part on a line of its own, so that changes can be read."""
        entries = [failure.record() for failure in sorted(self.failures, key=order)]
        record = {"runtime": self.runtime, "failures": entries}
        text = json.dumps(record, indent=2, ensure_ascii=False)
        Path(path).write_text(f"{text}\n", "utf-8")

    def apply(
        self, results: Sequence[Fuzzed], version: str | None = None, system: str = sys.platform
    ) -> Applied:
        """Which failures are known, and which entries must leave.

        Args:
            results: What came of the cases of the runtime.
            version: The runtime's version; by default that of its package, if that is installed.
            system: Where it ran, as `sys.platform` names it.
        """
        version = version or installed(PACKAGES.get(self.runtime, self.runtime))
        holding = [failure for failure in self.failures if failure.holds(version, system)]
        expected: dict[FailureSignature, KnownFailure] = {}
        used: set[FailureSignature] = set()
        for signature in (finding.signature for result in results for finding in result.findings):
            for failure in holding:
                if failure.signature.explains(signature):
                    expected.setdefault(signature, failure)
                    used.add(failure.signature)
        stale = [
            failure
            for failure in holding
            if failure.signature not in used and any(was_run(failure, each) for each in results)
        ]
        return Applied(expected, stale)

    def update(
        self, results: Sequence[Fuzzed], version: str | None = None, system: str = sys.platform
    ) -> Baseline:
        """The baseline with the failures of today: new ones come, those that are gone leave.

        Entries that stay keep their notes and conditions. So do those of operators that were not
        run, or of other versions and systems.

        Args:
            results: See `apply`, as for `version` and `system`.
            version: The runtime's version.
            system: Where it ran.
        """
        applied = self.apply(results, version, system)
        stay = [failure for failure in self.failures if failure not in applied.stale]
        new = [
            KnownFailure(finding.signature)
            for finding in findings_of(results)
            if finding.signature not in applied.expected
        ]
        return replace(self, failures=sorted([*stay, *new], key=order))


def findings_of(results: Iterable[Fuzzed]) -> list[Finding]:
    """The findings of all operators."""
    return [finding for result in results for finding in result.findings]


def was_run(failure: KnownFailure, result: Fuzzed) -> bool:
    """Whether all cases of a failure's operator were run, some of them at its schema version."""
    signature = failure.signature
    versions = {key.partition(" ")[0] for key in result.by_type}
    return (
        result.name == signature.operator and not result.cut and str(signature.version) in versions
    )


def order(failure: KnownFailure) -> tuple[Any, ...]:
    """Where an entry stands in the file."""
    signature = failure.signature
    said = signature.operator, signature.version, signature.outcome, signature.place
    return (*said, sorted(signature.features), failure.versions, failure.platform, failure.note)
