"""What differs between two models: nodes that came, went or changed, and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.draw.members import Cluster, Leaf
from onnxla.draw.roles import Roles
from onnxla.ir.fingerprint import fingerprint
from onnxla.ir.names import listed, plain

WORDS = {
    "added": "added",
    "changed": "changed",
    "gone": "gone",
    "same": "the same",
}


@dataclass(frozen=True)
class Changes:
    """What differs from another model.

    Attributes:
        states: A word of `WORDS` for each node, and what is different.
    """

    states: Mapping[Leaf, tuple[str, str]]
    words: Mapping[str, str] = field(default_factory=lambda: WORDS)

    def of(self, leaf: Leaf) -> tuple[str, str]:
        """A node's state, and what is different."""
        return self.states[leaf]


def key(leaf: Leaf) -> object:
    """What tells a node from others in both models: its name, or else what it makes."""
    return leaf.node.op_type, leaf.node.name or leaf.node.outputs


def compared(
    ours: Cluster,
    theirs: Cluster,
    roles: Roles,
    params: Mapping[str, Any],
    others: Mapping[str, Any],
) -> Changes:
    """What differs in `ours`, in which nodes of `theirs` that are gone are put.

    Args:
        ours: All nodes of a model, not grouped yet.
        theirs: Those of the other one.
        roles: The roles of the nodes of ours.
        params: The parameters of ours.
        others: Those of the other model.
    """
    left: dict[object, list[Leaf]] = {}
    for leaf in theirs.leaves:
        left.setdefault(key(leaf), []).append(leaf)
    states = {}
    for leaf in ours.leaves:
        same = left.get(key(leaf))
        if not same:
            states[leaf] = "added", ""
            continue
        before = same.pop(0)
        notes = [*differences(before.node, leaf.node), *numbers(leaf, roles, params, others)]
        states[leaf] = ("changed", "; ".join(notes)) if notes else ("same", "")
    gone = [leaf for leaves in left.values() for leaf in leaves]
    for ghost in gone:
        ghost.gone = True
        ghost.makes = tuple(f"{value} (gone)" for value in ghost.makes)
        states[ghost] = "gone", ""
    made = {value for ghost in gone for value in ghost.makes}
    for ghost in gone:
        reads = (f"{v} (gone)" if f"{v} (gone)" in made else v for v in ghost.reads)
        ghost.reads = tuple(reads)
    gone.sort(key=lambda ghost: ghost.node.place or 0)
    ours.members += gone
    vars(ours).pop("leaves", None)
    return Changes(states)


def differences(before: ir.Node, after: ir.Node) -> list[str]:
    """What differs between two nodes."""
    found = []
    if before.inputs != after.inputs:
        names = [name for name in before.inputs if name not in after.inputs]
        found.append(f"it read {listed(names, plain)}" if names else "it reads more")
    keys = dict.fromkeys((*before.attributes, *after.attributes))
    other = [
        name
        for name in keys
        if (name in before.attributes) != (name in after.attributes)
        or fingerprint({"": before.attributes[name]}) != fingerprint({"": after.attributes[name]})
    ]
    if other:
        found.append(f"other attributes: {listed(other, plain)}")
    return found


def numbers(
    leaf: Leaf, roles: Roles, params: Mapping[str, Any], others: Mapping[str, Any]
) -> list[str]:
    """What differs in the parameters of a node."""
    found = []
    for name in roles.parameters(leaf):
        old, new = others.get(name), params[name]
        if old is None:
            found.append(f"new parameter {plain(name)}")
        elif old is not new:
            before, after = np.asarray(old, np.float64), np.asarray(new, np.float64)
            if before.shape != after.shape:
                found.append(f"{plain(name)} was {list(before.shape)}")
            elif not np.array_equal(before, after):
                most = np.abs(after - before).max()
                found.append(f"{plain(name)} differs by up to {most:.3g}")
    return found
