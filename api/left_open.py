"""What a file leaves open of the network that it was, and how it trains then."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from onnxla import ir
from onnxla.ir.names import listed, quoted
from onnxla.parameters.evidence import Evidence, find_evidence
from onnxla.parameters.merged import merged_affine
from onnxla.parameters.padding import find_padding
from onnxla.parameters.roles import Parameters, shared_parameters
from onnxla.parameters.statistics import merged_statistics
from onnxla.parameters.walk import Analysis

# What PyTorch calls the vectors with which it estimates a weight's largest singular value.
SINGULAR_VECTOR = re.compile(r"(\.parametrizations\.\w+\.\d+\._|weight_)[uv]$")
# What is called so, networks use in a formula: vectors as above, and logarithms.
IN_FORMULA = re.compile(rf"{SINGULAR_VECTOR.pattern}|(_log|logit_scale)$").search
# What PyTorch's exporter calls what it only lays out in another way.
LAID_OUT = re.compile(
    r"(val|t|permute|transpose|view|reshape|unsqueeze|squeeze|alias|detach|clone)(_\d+)?$"
).match


def left_open(parameters: Parameters, analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Names of parameters, or nothing, and what is not certain of each or all that are like it."""
    for name, role in parameters.undecided.items():
        yield (
            name,
            f"{quoted(name)} may be a learned {role} or a fixed number, which its value "
            f"{shown(parameters.params[name])} does not tell: it does not train by default; "
            f'train=["*", {quoted(name)}] trains it too',
        )
    yield from merged_tensors(parameters, analysis)
    names = {tensor: name for name, tensor in parameters.params.items()}
    for padding in find_padding(analysis):
        name = names.get(padding.tensor, padding.tensor.name)
        yield (
            name,
            f"{described(padding.mask)} {quoted(name)} is zero: taken for filled in, so training "
            f"keeps what {padding.node} reads of it; give it other numbers to train it",
        )
    evidence = find_evidence(analysis.model)
    for name, made_of in evidence.folded.items():
        learned = evidence.learned.intersection(made_of)
        if learned and (len(learned) > 1 or any(map(IN_FORMULA, made_of)) or not LAID_OUT(name)):
            yield (
                name,
                f"PyTorch's exporter computed {quoted(name)} from {listed(made_of)}: it trains, "
                "they do not; with optimize=False the exporter keeps them",
            )
    if missing := missing_parameters(analysis, evidence):
        yield (
            "",
            "PyTorch's exporter lists parameters that have no tensor in the file "
            f"({listed(missing)}): each is tied to another, or was dropped, folded into others or "
            "merged with an equal one; with optimize=False the exporter keeps what is not tied",
        )
    vectors = [name for name in parameters.params if SINGULAR_VECTOR.search(name)]
    if vectors:
        yield (
            vectors[0],
            f"{listed(vectors)}: by their names, vectors of a spectral normalization, which "
            "PyTorch estimates anew at each step of training; here they stay as they are",
        )


def missing_parameters(analysis: Analysis, evidence: Evidence) -> list[str]:
    """The parameters that an exporter lists and nothing in the file is, or is made of."""
    parted = {use.name for use in merged_affine(analysis)}
    folded = {name for names in evidence.folded.values() for name in names}
    return sorted(evidence.learned - evidence.stored - folded - parted)


def merged_tensors(parameters: Parameters, analysis: Analysis) -> Iterator[tuple[str, str]]:
    """What an exporter made one of equal tensors, as far as it can be told; see `left_open`."""
    names = {tensor: name for name, tensor in parameters.params.items()}
    statistics, affine = merged_statistics(analysis), merged_affine(analysis)
    for kind, uses in (("running statistics", statistics), ("scales and biases", affine)):
        if uses:
            tensors = [*dict.fromkeys(names.get(use.tensor, use.tensor.name) for use in uses)]
            yield (
                tensors[0],
                f"the exporter merged {kind} with equal tensors ({listed(tensors)}): in training "
                f"each layer has its own, {listed([use.name for use in uses])}",
            )
    parted = {place for use in affine for place in use.places}
    for each in shared_parameters(parameters, analysis):
        joint = [use for use in each.uses if not parted.issuperset(use.places)]
        if len(joint) > 1 and not each.tied:
            name = names[each.tensor]
            layers = listed([str(use.places[0][0]) for use in joint], str)
            yield (
                name,
                f"{len(joint)} layers read {quoted(name)} ({layers}): if they "
                "were equal by chance, as new layers and copies are, the exporter merged them, and "
                f"they train as one; `module.untie({name!r})` gives each its own, "
                "and so does an export without merging (PyTorch: optimize=False)",
            )


def described(mask: np.ndarray) -> str:
    """What of a matrix is padding: the vector of a padding index, or second biases."""
    if mask.shape[1] == 1:
        return f"vector {int(mask.argmax())}, as of a padding index, of"
    return "the second bias in"


def shown(tensor: ir.Tensor) -> str:
    """A tensor's first number, and how many there are."""
    array = tensor.numpy()
    return f"{float(array.reshape(-1)[0]):.6g}" + (
        f" ({array.size} times)" if array.size > 1 else ""
    )
