"""What is said of each box of a drawing: texts, colours, numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from onnxla import ir
from onnxla.draw import labels
from onnxla.draw.changes import Changes
from onnxla.draw.figures import Figures
from onnxla.draw.labels import Label, shape_text
from onnxla.draw.members import Cluster, Leaf, Member, Pin, clusters
from onnxla.draw.roles import ROLES, Roles
from onnxla.draw.types import ArrayKind, stated, type_text
from onnxla.ir.names import number_of, plain

SILENT = ("plain", "known", "same")  # roles that a cluster does not show beside others
ARRAYS = ("float", "bfloat", "int", "uint", "bool", "complex", "string")
WIRE, SIZE = 24, 14  # characters beside a line, and of the name of an open size in the title
LEAST = 0.08  # of a cluster's height, for what it has little of


@dataclass(frozen=True)
class Content:
    """What is said of the members of a drawing.

    Attributes:
        root: All of it.
        names: What the values of the drawing are called in their scopes.
        roles: The roles of the nodes.
        figures: Numbers on nodes.
        changes: What differs from another model.
    """

    root: Cluster
    names: Mapping[str, str]
    roles: Roles
    figures: Figures | None = None
    changes: Changes | None = None

    @property
    def title(self) -> str:
        """The graph's name."""
        return labels.cut(self.root.title or "graph", 60)

    @cached_property
    def sizes(self) -> dict[str, object]:
        """The sizes, or whole shapes, that were taken for those that the model leaves open."""
        traced = self.roles.traced
        shapes = {name: labels.shape_text(shape) for name, shape in traced.nameless.items()}
        return {name: n for name, n in {**traced.sizes, **shapes}.items() if name != "?"}

    @property
    def sizes_in_full(self) -> str:
        """All of them with their whole names, one a line."""
        return "\n".join(f"{plain(name)} = {n}" for name, n in self.sizes.items())

    @cached_property
    def subtitle(self) -> str:
        """How much there is, and what the shapes are for, in few words."""
        tensors = self.roles.program.parameters.params.values()
        count = sum(math.prod(tensor.shape) for tensor in tensors)
        texts = [number_of(len(self.root.leaves), "node"), f"{labels.rounded(count)} parameters"]
        sizes = [f"{labels.cut(name, SIZE)} = {n}" for name, n in self.sizes.items()]
        if sizes:
            texts.append(f"shapes for {', '.join(sizes[:3])}" + ", …" * (len(sizes) > 3))
        return " · ".join(texts)

    @cached_property
    def legend(self) -> list[tuple[str, str]]:
        """The roles that there are, and what they mean."""
        found = {self.role(leaf) for leaf in self.root.leaves}
        words = {**ROLES, **(self.changes.words if self.changes else {})}
        heat = [("heat", self.figures.caption)] if self.figures else []
        return [(role, text) for role, text in words.items() if role in found] + heat

    @cached_property
    def _roles(self) -> dict[Leaf, tuple[str, str]]:
        of = self.changes.of if self.changes else self.roles.of
        return {leaf: of(leaf) for leaf in self.root.leaves}

    def role(self, leaf: Leaf) -> str:
        """A node's role."""
        return self._roles[leaf][0]

    def reason(self, leaf: Leaf) -> str:
        """Why a node has its role, where that is not plain."""
        return self._roles[leaf][1]

    def bars(self, item: Leaf | Cluster) -> list[tuple[str, float]]:
        """The roles in a box, and their shares of it."""
        if isinstance(item, Leaf):
            return [(self.role(item), 1.0)]
        counts = Counter(map(self.role, item.leaves))
        told = {role: n for role, n in counts.items() if role not in SILENT} or dict(counts)
        order = [role for role in self._order if role in told]
        total = sum(told.values())
        shares = [max(told[role] / total, LEAST) for role in order]
        return [(role, share / sum(shares)) for role, share in zip(order, shares, strict=True)]

    @cached_property
    def _order(self) -> list[str]:
        return [*ROLES, *(self.changes.words if self.changes else {})]

    def heat(self, item: Leaf | Cluster) -> float | None:
        """How much of the overlay's colour a box has."""
        return self.figures.heat(item) if self.figures else None

    def is_figured(self, item: Member) -> bool:
        """Whether the first line below a title is a number of the overlay."""
        return not isinstance(item, Pin) and bool(self.figures and self.figures.text(item))

    @cached_property
    def labels(self) -> dict[object, Label]:
        """The texts of all members."""
        found: dict[object, Label] = {}
        for cluster in (self.root, *clusters(self.root.members)):
            for member in cluster.members:
                found[member] = self._label(member)
        return found

    def _label(self, member: Member) -> Label:
        figure = self.figures.text(member) if self.figures and not isinstance(member, Pin) else ""
        if isinstance(member, Leaf):
            return labels.of_leaf(member, figure)
        if isinstance(member, Cluster):
            tensors = self.roles.program.parameters.params
            names = {name for leaf in member.leaves for name in self.roles.parameters(leaf)}
            count = sum(math.prod(tensors[name].shape) for name in names)
            return labels.of_cluster(member, count, figure)
        values = (*member.makes, *member.reads)
        return labels.of_pin(member, self.types.get(values[0], "") if values else "")

    @cached_property
    def _traced(self) -> dict[str, ArrayKind]:
        """Dtype and shape of values as a trace found them."""
        traced = self.roles.traced.results
        found: dict[str, ArrayKind] = {}
        for leaf in self.root.leaves:
            kinds = zip(leaf.node.outputs, traced.get(leaf.node, ()), strict=False)
            given = [kind for name, kind in kinds if name]
            for value, kind in zip(leaf.makes, given, strict=False):
                if kind is not None:
                    found[value] = kind
        return found

    @cached_property
    def types(self) -> dict[str, str]:
        """Dtype and shape of values, as far as they are known, by value of the drawing."""
        found = {value: str(kind) for value, kind in self._traced.items()}
        told = dict(stated([self.roles.program.model.graph]))
        for value, name in self.names.items():
            if name in told and (value not in found or self._tells(told[name])):
                found[value] = type_text(told[name])
        return found

    def _tells(self, kind: ir.Type) -> bool:
        """Whether a stated type says more than a trace: it has only names that inputs have."""
        shape = kind.shape if isinstance(kind, ir.TensorType) else None
        known = self.roles.traced.sizes
        return shape is not None and all(isinstance(size, int) or size in known for size in shape)

    def wire_text(self, values: Sequence[str]) -> str:
        """What is written where a line starts: the shape of its value, or how many values."""
        if len(values) > 1:
            return f"{len(values)} values"
        kind, _, shape = self.types.get(values[0], "").partition(" ")
        if (len(shape) > WIRE or "…" in shape) and values[0] in self._traced:
            shape = shape_text(self._traced[values[0]].shape)  # numbers are shorter than names
        return labels.cut(shape, WIRE) if kind.startswith(ARRAYS) else ""
