"""Under which circumstances operators were fuzzed: versions, machine, command line, time."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxla.peers.protocol import Runtime
from onnxla.testing.fault_records import PACKAGES
from onnxla.testing.version_ranges import apart, installed

# What decides which cases are drawn, and what onnxla and the reference say about them.
PACKAGES_IN_USE = ("onnx", "onnxla", "jax", "numpy", "hypothesis")


@dataclass(frozen=True)
class About:
    """Under which circumstances operators were fuzzed.

    For example:

        about = onnxla.testing.About.of_run(["onnxla", "reference"])
        print(about.versions)

    Attributes:
        versions: By name of a runtime or a package; without those that say none.
        platform: The system and its processor.
        system: The system as `sys.platform` names it.
        command: The command line.
        date: When it began, in UTC, as ISO 8601 has it.
        seconds: How long it took.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    system: str = ""
    command: str = ""
    date: str = ""
    seconds: float = 0.0

    @classmethod
    def of_run(
        cls,
        runtimes: Sequence[Runtime | str],
        command: Sequence[str] | None = None,
        seconds: float = 0.0,
    ) -> About:
        """The circumstances of a run that is just over.

        Args:
            runtimes: The one under test and those that judge, or their names.
            command: The words of the command line; by default those of this process.
            seconds: How long it took.
        """
        versions = {name_of(runtime): version_of(runtime) for runtime in runtimes}
        versions |= {package: package_version(package) for package in PACKAGES_IN_USE}
        began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
        return cls(
            {name: version for name, version in versions.items() if version}
            | {"Python": platform.python_version()},
            platform.platform(),
            sys.platform,
            shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]] if command is None else command),
            began.isoformat(timespec="seconds"),
            seconds,
        )

    @property
    def lines(self) -> dict[str, str]:
        """What is known, as text by title."""
        found = {
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            "platform": self.platform,
            "command": self.command,
            "date": self.date,
            "seconds": f"{self.seconds:.1f}" if self.seconds else "",
        }
        return {title: text for title, text in found.items() if text}


def name_of(runtime: Runtime | str) -> str:
    """A runtime's name."""
    return runtime if isinstance(runtime, str) else runtime.name


def version_of(runtime: Runtime | str) -> str | None:
    """The version that a runtime says it has, or that of its package; None if there is neither."""
    name = name_of(runtime)
    inner = getattr(runtime, "runtime", None)  # of the isolated one, which may not have started
    said = getattr(runtime, "version", None) or getattr(inner, "version", None)
    name, version = apart(name)
    if isinstance(said, str) or version:
        return said or version
    return package_version(PACKAGES.get(name, name))


def package_version(package: str) -> str | None:
    """The version of an installed package; None if there is none of the name."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return installed(package)  # of a package in a distribution with another name
