"""Choosing parameters by name, by pattern and by role."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnxla.ir.names import as_names, nearest, no_such, quoted
from onnxla.parameters.roles import ROLES, TRAINABLE, Parameters


def matching(pattern: str, names: Collection[str], what: str = "parameter") -> list[str]:
    """The names that a shell-style pattern matches, or that it is.

    As it is, too: ONNX names may contain brackets, which a pattern reads as a set.

    Raises:
        ValueError: It matches none.
    """
    found = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise ValueError(f"no {what} matches '{pattern}'; {nearest(pattern, names)}")
    return found


def chosen(
    patterns: Sequence[str],
    parameters: Parameters,
    wanted: str | Collection[str] | None = None,
    settled: Collection[str] = (),
) -> set[str]:
    """The parameters that one of the patterns, or without any, a role chooses.

    Args:
        patterns: Names or patterns. A name that is spelled out is chosen whatever its role is,
            unless `wanted` is given.
        parameters: The parameters.
        wanted: Roles to choose from; by default those of learned weights and adapters, or without
            patterns what trains by default.
        settled: Parameters of which it makes no difference whether a pattern matches them.

    Raises:
        ValueError: There is no such role; a pattern matches no parameter, or none of the wanted
            roles; or, without
            `wanted`, both adapters and others.
    """
    roles, wanted = parameters.roles, as_names(wanted)
    if unknown := sorted({*(wanted or ())}.difference(ROLES)):
        raise ValueError(no_such("role", unknown[0], ROLES))
    usual = TRAINABLE | {"adapter"} if wanted is None else wanted
    if not patterns:
        if wanted is None:
            return parameters.trained
        return {name for name, role in roles.items() if role in usual}
    names: set[str] = set()
    for pattern in patterns:
        found = matching(pattern, roles)
        kept = {
            name for name in found if roles[name] in usual or (wanted is None and name == pattern)
        }
        if not kept:
            kinds = ", ".join(sorted({roles[name] for name in found}))
            raise ValueError(
                f"what '{pattern}' matches is not of the roles {', '.join(sorted(usual))}, but "
                f"{kinds}, such as {quoted(found[0])}; spell the name out, or pass roles="
            )
        if wanted is None and pattern not in roles:
            require_one_kind(pattern, kept.difference(settled), roles)
        names |= kept
    return names


def require_one_kind(pattern: str, names: Collection[str], roles: Mapping[str, str]) -> None:
    """Raises ValueError if a pattern matches adapters and other parameters.

    The names of adapters begin with those of their weights, so patterns of weights match them by
    accident: then both would train, or be frozen, at once.
    """
    adapters = sorted(name for name in names if roles[name] == "adapter")
    others = sorted(name for name in names if roles[name] != "adapter")
    if adapters and others:
        raise ValueError(
            f"'{pattern}' matches the adapter {quoted(adapters[0])} beside {quoted(others[0])}, "
            "perhaps by accident, since its name begins with its weight's: '*.lora_?' matches "
            "adapters alone, a name that is spelled out itself alone, and with roles= a pattern "
            "chooses among these"
        )


@dataclass(frozen=True)
class KeptStatistics:
    """Which layers keep their running statistics in training, and use them.

    Attributes:
        names: Statistics that are kept; None: all.
        learned: The parameters that train by default; none to go by the `names` alone.
        trained: Those that do. A layer that learns a scale or a bias keeps its statistics if
            neither trains; one that learns nothing, unless all of `learned` train.
    """

    names: Collection[str] | None = ()
    learned: Collection[str] = ()
    trained: Collection[str] = ()

    def __call__(self, statistics: Iterable[str | None], affine: Iterable[str | None]) -> bool:
        """Whether a layer does, by the names of its statistics, and of its scale and bias."""
        if self.names is None or any(name in self.names for name in statistics):
            return True
        own = {name for name in affine if name in self.learned}
        return any(name not in self.trained for name in self.learned) and not any(
            name in self.trained for name in own
        )


def kept_statistics(
    freeze: bool | str | Sequence[str] | None,
    roles: Mapping[str, str],
    trained: Collection[str] | None = None,
) -> KeptStatistics:
    """Which layers keep their running statistics.

    Args:
        freeze: Patterns of statistics to keep; True: all; False: none, whatever trains.
        roles: Role of each parameter.
        trained: The parameters that train, which decide it too unless `freeze` is False.

    Raises:
        ValueError: A pattern matches none.
    """
    if isinstance(freeze, bool):
        return KeptStatistics(None if freeze else ())
    names = [name for name, role in roles.items() if role == "running_statistic"]
    given = [freeze] if isinstance(freeze, str) else freeze or ()
    kept = {name for p in given for name in matching(p, names, "running statistic")}
    if trained is None:
        return KeptStatistics(kept)
    return KeptStatistics(
        kept, {name for name, role in roles.items() if role in TRAINABLE}, {*trained}
    )
