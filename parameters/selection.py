"""Choosing parameters by name, by pattern and by role."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence

from onnxla.ir.names import nearest, quoted
from onnxla.parameters.roles import TRAINABLE, trainable


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
    patterns: Sequence[str], roles: Mapping[str, str], wanted: Collection[str] | None = None
) -> set[str]:
    """The parameters of `roles` that one of the patterns, or without any, a role chooses.

    Args:
        patterns: Names or patterns. A name that is spelled out is chosen whatever its role is,
            unless `wanted` is given.
        roles: Role of each parameter.
        wanted: Roles to choose from; by default those of learned weights and adapters, or without
            patterns those that `trainable` names.

    Raises:
        ValueError: A pattern matches no parameter, or none of the wanted roles.
    """
    by_default = TRAINABLE | {"adapter"} if patterns else trainable(roles)
    usual = by_default if wanted is None else wanted
    if not patterns:
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
        names |= kept
    return names


def frozen_statistics(patterns: bool | str | Sequence[str], roles: Mapping[str, str]) -> set[str]:
    """The running statistics that patterns match; True: all.

    Raises:
        ValueError: A pattern matches none.
    """
    names = [name for name, role in roles.items() if role == "running_statistic"]
    if isinstance(patterns, bool):
        return set(names) if patterns else set()
    given = [patterns] if isinstance(patterns, str) else patterns
    return {name for p in given for name in matching(p, names, "running statistic")}
