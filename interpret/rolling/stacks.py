"""Parameters of repeated blocks as one array for all blocks, so that no step has to join them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.interpret.rolling.roll import Roll
from onnxla.ir.model import Node, Tensor
from onnxla.ir.names import listed, quoted


@dataclass(frozen=True)
class Stacks:
    """Which parameters are parts of one array.

    Attributes:
        members: By name of a stack, the parameters along its first axis.
    """

    members: Mapping[str, tuple[str, ...]]

    @functools.cached_property
    def places(self) -> dict[str, tuple[str, int]]:
        """By parameter, its stack and its index there."""
        pairs = self.members.items()
        return {name: (stack, i) for stack, members in pairs for i, name in enumerate(members)}

    def name_of(self, names: tuple[str | None, ...]) -> str | None:
        """The stack that has these parameters, and no others; None if there is none."""
        stack, _ = self.places.get(names[0] or "", ("", 0))
        return stack if self.members.get(stack) == names else None

    def within(self, names: Collection[str]) -> Stacks:
        """Those of the stacks that are among some names."""
        return Stacks({name: m for name, m in self.members.items() if name in names})

    def check(self, params: Mapping[str, Any]) -> None:
        """Raises ValueError if a stack among parameters has not one entry for each of its own."""
        for stack in self.members.keys() & params.keys():
            count, shape = len(self.members[stack]), jnp.shape(params[stack])
            if shape[:1] != (count,):
                raise ValueError(
                    f"{quoted(stack)} is {count} parameters along its first axis,"
                    f" {listed(self.members[stack])}; got shape {list(shape)}"
                )

    def among(self, kinds: Mapping[str, Any]) -> Stacks:
        """The stacks whose members are all keys of `kinds`, and equal there."""
        return Stacks(
            {
                stack: members
                for stack, members in self.members.items()
                if kinds.keys() >= {*members} and len({kinds[name] for name in members}) == 1
            }
        )

    def keyed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values by parameter, of which those of a stack are equal, by stack where there is one."""
        return {self.places.get(name, (name, 0))[0]: value for name, value in values.items()}

    def stacked(self, tree: Any) -> Any:
        """A tree in whose dicts the members of each stack are exchanged for it."""

        def exchanged(params: dict[str, Any]) -> dict[str, Any]:
            found = {**params}
            for stack, members in self.members.items():
                if params.keys() >= {*members}:
                    parts = [found.pop(name) for name in members]
                    found[stack] = jax.tree.map(lambda *arrays: jnp.stack(arrays), *parts)
            return found

        return in_dicts(tree, exchanged)

    def by_name(self, tree: Any) -> Any:
        """The inverse of `stacked`."""

        def exchanged(params: dict[str, Any]) -> dict[str, Any]:
            found = {k: v for k, v in params.items() if k not in self.members}
            for stack in self.members.keys() & params.keys():
                for index, name in enumerate(self.members[stack]):
                    found[name] = jax.tree.map(lambda x, i=index: x[i], params[stack])
            return found

        return in_dicts(tree, exchanged)


NO_STACKS = Stacks({})


def in_dicts(tree: Any, exchanged: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A tree with its innermost dicts exchanged."""

    def is_innermost(value: Any) -> bool:
        return isinstance(value, dict) and not any(isinstance(v, dict) for v in value.values())

    return jax.tree.map(
        lambda x: exchanged(x) if isinstance(x, dict) else x, tree, is_leaf=is_innermost
    )


def find_stacks(nodes: Sequence[Node], names: Mapping[Any, str], params: Collection[str]) -> Stacks:
    """The stacks that loops read, of parameters alone.

    Args:
        nodes: The nodes, loops among them.
        names: Names of constant tensors.
        params: Those that are parameters.
    """
    found: dict[str, tuple[str, ...]] = {}
    taken = set[str]()
    for column in (c for node in nodes if isinstance(node, Roll) for c in node.stacked.values()):
        members = tuple(names.get(x, "") if isinstance(x, Tensor) else "" for x in column)
        fresh = len({*members}) == len(members) and taken.isdisjoint(members)
        if fresh and {*params}.issuperset(members):
            taken.update(members)
            found[free_name(f"{members[0]} and {len(members) - 1} more", params)] = members
    return Stacks(found)


def free_name(name: str, taken: Collection[str]) -> str:
    """A name that is not taken."""
    while name in taken:
        name += "'"
    return name
