"""Everything that is wrong, unsupported or noteworthy in a model, all at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnxla import ir
from onnxla.edit.inference import find_training
from onnxla.edit.quantization import find_quantized
from onnxla.ir.errors import describe
from onnxla.ir.names import quoted
from onnxla.ir.order import is_disordered
from onnxla.ir.problems import Problems
from onnxla.ir.traverse import all_nodes, is_standard
from onnxla.left_open import left_open
from onnxla.ops.missing import missing_operators
from onnxla.ops.signatures import find_misfits
from onnxla.ops.table import lookup
from onnxla.parameters.copies import copies
from onnxla.parameters.evidence import find_evidence
from onnxla.parameters.roles import analyze, find_parameters
from onnxla.tables import Notes, Report

NOTHING = "nothing to report: every operator is supported"


@dataclass(frozen=True)
class Findings:
    """What `check` found.

    For example:

        findings = onnxla.check("model.onnx")
        if not findings.ok:
            print(findings.errors, findings.unsupported)

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
        return "\n".join(lines) if lines else NOTHING

    def _repr_html_(self) -> str:
        groups = {
            "errors: it cannot be loaded": self.errors,
            "not supported": self.unsupported,
            "notes": self.notes,
        }
        parts = [Notes(title, texts) for title, texts in groups.items() if texts]
        return Report(parts or [NOTHING])._repr_html_()


def check(source: Any, *, folder: str | os.PathLike[str] | None = None) -> Findings:
    """Checks a model without running it. `source` and `folder`: whatever `load` takes.

    Or `source` is a `Module`, whose model is checked as it would be saved. A file that is missing
    or cannot be read is an error among the findings.

    For example:

        findings = onnxla.check("model.onnx")
        assert findings.ok
        print(findings)
    """
    try:
        if hasattr(source, "to_ir"):
            source = source.to_ir()
        model = source if isinstance(source, ir.Model) else ir.read(source, folder=folder)
    except (ir.ModelError, OSError) as error:
        return Findings((describe(error),), (), ())
    errors = tuple(ir.check(model) or find_misfits(model).listed())
    if errors:
        return Findings(errors, (), ())
    noted = tuple(Problems(notes(model)).listed())
    return Findings((), tuple(missing_operators(model)), noted)


def notes(model: ir.Model) -> Iterator[str]:
    """What is worth knowing: inputs that decide shapes, and what there is to train."""
    analysis = analyze(model)
    parameters = find_parameters(model, analysis)
    if is_disordered(model):
        yield (
            "the nodes are not in an order in which they can be run, which ONNX asks for: onnxla "
            "sorts them when it loads the file, and saves them in the file's order"
        )
    for name in parameters.static_inputs:
        yield (
            f"input {quoted(name)} decides a shape: a call is compiled for each of its values, and "
            "apply needs it as a numpy array or fixed by specialize"
        )
    learned = parameters.trained
    if not learned:
        yield "no parameter has the role of a learned weight: there is nothing to train by default"
    yield from (text for _, text in left_open(parameters, analysis))
    quantized, others = find_quantized(model)
    if quantized:
        yield (
            f"{len(quantized)} weights are quantized: `module.quantization_aware()` makes them "
            "trainable" + (f", but not {len(others)} others" if others else "")
        )
    if training := find_training(model, analysis):
        kinds = ", ".join(sorted({node.op_type for node in training}))
        yield (
            f"{len(training)} nodes ({kinds}) are, or may be, in the form for training: a call"
            " drops values or uses the batch's statistics, as the file says. `module.inference()`"
            " has the form for inference, which `evaluate`, `validation=` and `save(check=)` use"
        )
    nodes = list(all_nodes(model))
    biased = sum(is_standard(node, "Conv") and len(node.inputs) > 2 for node, _ in nodes)
    evidence = find_evidence(model)
    possible = evidence.tracks or not evidence.signed
    if biased and possible and not any(is_standard(n, "BatchNormalization") for n, _ in nodes):
        convolutions = f"{biased} convolution" + "s" * (biased > 1)
        yield (
            f"no BatchNormalization, and {convolutions} with a bias: if the network had "
            "any, it was folded into them, and training has no batch statistics"
        )
    if learned and not any(drops(node, opsets) for node, opsets in nodes):
        yield (
            "no Dropout: if the network had any, the exporter left it out, and training drops "
            "nothing; `module.insert_dropout(after)` puts one in"
        )
    for first, second in copies(parameters):
        yield (
            f"{quoted(first)} and {quoted(second)} hold the same numbers: if the weight was tied,"
            " the exporter copied it, and the copies will differ after training;"
            f" `module.tie({second!r})` makes them one again"
        )


def drops(node: ir.Node, opsets: Mapping[str, int]) -> bool:
    """Whether a node's operator drops elements at random in training."""
    operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
    return operator is not None and operator.moves == "dropped"
