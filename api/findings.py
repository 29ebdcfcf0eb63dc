"""Everything that is wrong, unsupported or noteworthy in a model, all at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.edit.inference import find_training
from onnxla.edit.quantization import find_quantized
from onnxla.ir.errors import describe
from onnxla.ir.names import listed, quoted
from onnxla.ir.order import is_disordered
from onnxla.ir.problems import Problems
from onnxla.ir.traverse import all_nodes, is_standard
from onnxla.ops.missing import missing_operators
from onnxla.ops.signatures import find_misfits
from onnxla.ops.table import lookup
from onnxla.parameters.padding import find_padding
from onnxla.parameters.roles import (
    Parameters,
    analyze,
    find_parameters,
    shared_parameters,
)
from onnxla.parameters.statistics import merged_statistics
from onnxla.parameters.walk import Analysis

# What PyTorch calls the vectors with which it estimates a weight's largest singular value.
SINGULAR_VECTOR = re.compile(r"(\.parametrizations\.\w+\.\d+\._|weight_)[uv]$")


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


def check(source: Any, *, folder: str | os.PathLike[str] | None = None) -> Findings:
    """Checks a model without running it. `source` and `folder`: whatever `load` takes.

    A file that is missing or cannot be read is an error among the findings.
    """
    try:
        model = source if isinstance(source, ir.Model) else ir.read(source, folder=folder)
    except (ir.ModelError, OSError) as error:
        return Findings((describe(error),), (), ())
    errors = tuple(ir.check(model) or find_misfits(model).listed())
    if errors:
        return Findings(errors, (), ())
    noted = Problems()
    for note in notes(model):
        noted.add(note)
    return Findings((), tuple(missing_operators(model)), tuple(noted.listed()))


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
    for name, role in parameters.undecided.items():
        yield (
            f"{quoted(name)} may be a learned {role} or a fixed number, which its value "
            f"{shown(parameters.params[name])} does not tell: it does not train by default; "
            f'train=["*", {quoted(name)}] trains it too'
        )
    yield from notes_on_merged_tensors(parameters, analysis)
    for name, mask in find_padding(parameters, analysis).items():
        yield (
            f"{described(mask)} of {quoted(name)} are zero: taken for padding, which no framework "
            "trains, they stay zero in training; any other number trains"
        )
    yield from notes_on_spectral_norms(parameters)
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
    if biased and not any(is_standard(node, "BatchNormalization") for node, _ in nodes):
        yield (
            f"no BatchNormalization, and {biased} convolutions with a bias: if the network had "
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
            " the exporter copied it, and the copies will differ after training"
        )


def notes_on_merged_tensors(parameters: Parameters, analysis: Analysis) -> Iterator[str]:
    """What an exporter made one of equal tensors, as far as it can be told."""
    names = {tensor: name for name, tensor in parameters.params.items()}
    merged = merged_statistics(analysis)
    if merged:
        which = listed([*dict.fromkeys(names.get(use.tensor, use.tensor.name) for use in merged)])
        yield (
            f"the exporter merged running statistics with equal tensors ({which}): in training "
            f"each layer has its own, {listed([use.name for use in merged])}"
        )
    for each in shared_parameters(parameters, analysis):
        if not each.tied:
            layers = listed([str(use.places[0][0]) for use in each.uses], str)
            yield (
                f"{len(each.uses)} layers read {quoted(names[each.tensor])} ({layers}): if they "
                "were equal by chance, as new layers and copies are, the exporter merged them, and "
                f"they train as one; `module.untie({names[each.tensor]!r})` gives each its own, "
                "and so does an export without merging (PyTorch: optimize=False)"
            )


def notes_on_spectral_norms(parameters: Parameters) -> Iterator[str]:
    """Which singular vectors PyTorch estimates anew at each step, which no file says."""
    vectors = [name for name in parameters.params if SINGULAR_VECTOR.search(name)]
    if vectors:
        yield (
            f"{listed(vectors)}: by their names, vectors of a spectral normalization, which "
            "PyTorch estimates anew at each step of training; here they stay as they are"
        )


def described(mask: np.ndarray) -> str:
    """Which elements of a matrix are padding: a vector, or a part of some."""
    if mask.shape[1] == 1:
        return f"the numbers of row {int(mask.argmax())}"
    return f"{int(mask.sum())} of the numbers"


def shown(tensor: ir.Tensor) -> str:
    """A tensor's first number, and how many there are."""
    array = tensor.numpy()
    return f"{float(array.reshape(-1)[0]):.6g}" + (
        f" ({array.size} times)" if array.size > 1 else ""
    )


def drops(node: ir.Node, opsets: Mapping[str, int]) -> bool:
    """Whether a node's operator drops elements at random in training."""
    operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
    return operator is not None and operator.moves == "dropped"


def hash_of(array: np.ndarray) -> bytes:
    """A hash of an array's numbers in their order."""
    return sha256(np.ascontiguousarray(array).view(np.uint8).data).digest()


def copies(parameters: Parameters) -> Iterator[tuple[str, str]]:
    """Pairs of weights or embeddings of which one is the other, or the other transposed.

    Of more than two, the first is paired with each.
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in parameters.params.items():
        if parameters.roles[name] in ("weight", "embedding") and len(tensor.shape) == 2:
            array = tensor.numpy()
            if array.size and array.min() != array.max():  # not zeros or ones, for a new layer
                # Hashes, so that each matrix is looked at once.
                hashes = map(hash_of, (array, array.T))
                shapes = zip(hashes, (array.shape, array.T.shape), strict=True)
                groups.setdefault((tensor.dtype, min(shapes)), []).append(name)
    for first, *others in groups.values():
        yield from ((first, other) for other in others)
