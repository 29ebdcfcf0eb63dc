"""Everything that is wrong, unsupported or noteworthy in a model, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onnxla import ir
from onnxla.interpret.parameters import TRAINABLE, find_parameters
from onnxla.interpret.support import all_nodes, unsupported


@dataclass(frozen=True)
class Findings:
    """What `check` found.

    Attributes:
        errors: What is wrong with the file; it cannot be loaded.
        unsupported: Operators that onnxla does not implement; the parts that use them cannot run.
        notes: What is worth knowing before training or running.
    """

    errors: tuple[str, ...]
    unsupported: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the model loads and every operator is supported."""
        return not self.errors and not self.unsupported

    def __str__(self) -> str:
        groups = {"error": self.errors, "unsupported": self.unsupported, "note": self.notes}
        lines = [f"{kind}: {text}" for kind, texts in groups.items() for text in texts]
        return "\n".join(lines) if lines else "nothing to report: every operator is supported"


def check(source: Any) -> Findings:
    """Checks a model without running it. `source`: whatever `load` takes.

    A file that cannot be read at all is one error among the findings.
    """
    try:
        model = ir.read(source)
    except ir.ModelError as error:
        return Findings((str(error),), (), ())
    errors = tuple(ir.check(model))
    if errors:
        return Findings(errors, (), ())
    return Findings((), tuple(unsupported(model)), tuple(notes(model)))


def notes(model: ir.Model) -> Iterator[str]:
    """What is worth knowing: inputs that decide shapes, and what there is to train."""
    parameters = find_parameters(model)
    for name in parameters.static_inputs:
        yield (
            f"input '{name}' decides a shape: a call is compiled for each of its values, and "
            "apply needs it as a numpy array or fixed by specialize"
        )
    trainable = sum(role in TRAINABLE for role in parameters.roles.values())
    if not trainable:
        yield "no parameter has the role of a learned weight: there is nothing to train by default"
    kinds = {node.op_type for node, _ in all_nodes(model)}
    if "Conv" in kinds and "BatchNormalization" not in kinds:
        yield "no BatchNormalization: if the network had any, it was folded into convolutions"
