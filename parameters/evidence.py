"""What tells learned numbers from literals: exporters' metadata, names, and the numbers.

Structure, what a tensor is used for, comes before names and numbers, and metadata before all; see
`roles`. PyTorch's exporter says of each tensor whether it is a parameter or a buffer, and from
which tensors it has folded the others.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import numpy as np

from onnxla.ir.model import Model, Tensor
from onnxla.ir.traverse import all_nodes, is_standard, subgraphs
from onnxla.parameters import formulas
from onnxla.parameters.sources import extent

KIND = "pkg.torch.export.graph_signature.InputSpec.kind"
FOLDED = "pkg.onnxscript.optimizer.folded_from"
SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
MAX_TEXT = 1_000_000  # letters of metadata that are read
TINY, HUGE = 1e-30, 1e30  # beyond which no layer learns numbers
PRECISION = 2.5e-7  # relative, of a formula's number in float32
GELU = np.float32(0.044715)  # of its approximation
FEW = 8  # numbers, which mostly tell that not all are the same
# Powers and factors that bring formulas with pi and logarithms to short numbers.
UNITS = (
    *((1, 1 / math.pi), (-1, math.pi), (2, math.pi), (2, 1 / math.pi)),
    *((1, math.log(2)), (1, math.log(10))),
)
# What frameworks call what they learn, as the last part of a name; and TensorFlow's variables.
LEARNED_NAME = re.compile(
    r"(^|[._/])(weights?|bias(es)?|gamma|beta|kernel|alpha|slope|temperature|logit_scale|A_log"
    r"|dt_bias|(cls|mask|class)_token|embeddings?|w|b)(_?[a-z]?\d*)?(:\d+)?$"
    r"|/ReadVariableOp(/resource)?(:\d+)?$"
)
# What exporters call the literals that they write as initializers; TensorFlow by the operand.
LITERAL_NAME = re.compile(r"(^|[/_.])[cC]onst(ant)?s?([_./:\d]|$)|/[xy]:\d+$")
# What PyTorch's exporter calls what it makes of other tensors, as it then says.
MADE_NAME = re.compile(r"^val_\d+$")


@dataclass
class Evidence:
    """What a file says of its constant tensors, beside how it uses them.

    Attributes:
        learned: Names of the tensors that its exporter says to be parameters, or made of them.
        fixed: Those that it says to be none.
        literals: Tensors of Constant nodes, if the weights of the model are initializers.
        pytorch: Whether PyTorch wrote it, which writes literals as Constant nodes.
        signed: Whether its exporter says which tensors are parameters.
        tracks: Whether it says that there were running statistics.
        names: Whether names tell literals; not if weights are called like them.
        stored: Names of the initializers.
        folded: What each tensor was computed from that the exporter says to be computed.
    """

    learned: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    literals: set[Tensor] = field(default_factory=set)
    pytorch: bool = False
    signed: bool = False
    tracks: bool = False
    names: bool = True
    stored: set[str] = field(default_factory=set)
    folded: dict[str, list[str]] = field(default_factory=dict)

    def is_literal(self, tensor: Tensor) -> bool:
        """Whether an exporter wrote a tensor down that no layer has."""
        made = self.signed and MADE_NAME.match(tensor.name)
        named = self.names and LITERAL_NAME.search(tensor.name)
        return tensor in self.literals or bool(made or named)

    def is_named(self, tensor: Tensor) -> bool:
        """Whether a tensor has the name of a learned one."""
        return not self.is_literal(tensor) and self.is_learned_name(tensor.name)

    def is_learned_name(self, name: str) -> bool:
        """Whether a name is one of what is learned."""
        return bool(LEARNED_NAME.search(name))

    def is_stored(self, tensor: Tensor) -> bool:
        """Whether a tensor is one that a PyTorch module holds, or made of such."""
        return self.pytorch and not self.is_literal(tensor)


def is_of_pytorch(model: Model) -> bool:
    """Whether PyTorch wrote a model."""
    return model.producer == "pytorch"


def find_evidence(model: Model) -> Evidence:
    """What a model says of its constant tensors."""
    evidence = Evidence(pytorch=is_of_pytorch(model))
    signature = model.graph.metadata.get(SIGNATURE, "")[:MAX_TEXT]
    parameters = set(re.findall(r": PARAMETER target='([^']*)'", signature))
    kinds = {v.name: v.metadata[KIND] for v in model.graph.value_info if KIND in v.metadata}
    parameters |= {name for name, kind in kinds.items() if kind.endswith("PARAMETER")}
    evidence.fixed |= {*kinds} - parameters
    for value in model.graph.value_info:
        if value.name not in kinds and FOLDED in value.metadata:
            made_of = re.findall(r"'([^']*)'", value.metadata[FOLDED][:MAX_TEXT])
            evidence.folded[value.name] = made_of
            learned = not parameters.isdisjoint(made_of)
            (evidence.learned if learned else evidence.fixed).add(value.name)
    evidence.learned |= parameters
    evidence.signed = bool(signature)
    evidence.tracks = bool(re.search(r": BUFFER target='([^']*\.)?running_(mean|var)'", signature))
    written, stored = constants_of_nodes(model), initializers(model)
    evidence.stored = {tensor.name for tensor in stored}
    # Some exporters put all weights into Constant nodes, or call all of them constants.
    if any(map(is_matrix, stored)) or not any(map(is_matrix, written)):
        evidence.literals = {*written}
    evidence.names = not any(LITERAL_NAME.search(t.name) for t in stored if is_matrix(t))
    return evidence


def constants_of_nodes(model: Model) -> list[Tensor]:
    """The tensors of Constant nodes."""
    found = (n.attributes.get("value") for n, _ in all_nodes(model) if is_standard(n, "Constant"))
    return [value for value in found if isinstance(value, Tensor)]


def initializers(model: Model) -> list[Tensor]:
    """The initializers of all graphs."""
    graphs = [model.graph, *(graph for node, _ in all_nodes(model) for graph in subgraphs(node))]
    return [t for graph in graphs for t in graph.initializers if isinstance(t, Tensor)]


def is_matrix(tensor: Tensor) -> bool:
    """Whether it may be a layer's weight."""
    return extent(tensor) > 1 and tensor.dtype.kind not in "iub"


# The numbers


def is_switch(array: np.ndarray) -> bool:
    """Whether there are zeros and ones alone, as in a mask."""
    few = array.reshape(-1)[:FEW]
    return all(((x == 0) | (x == 1)).all() for x in (few, array))


def is_uniform(array: np.ndarray) -> bool:
    """Whether all numbers are the same."""
    flat = array.reshape(-1)
    return bool(array.size and (flat[:FEW] == flat[0]).all() and (flat == flat[0]).all())


def is_written(number: np.ndarray) -> bool:
    """Whether a scalar is one of a formula: of few digits, or a root, logarithm or the like of one.

    Such as 1 / sqrt(64), sqrt(2 / pi), 1 / ln(2), 8**-0.25, 1 / 255.
    """
    if not number.size or formulas.is_round(number):
        return True
    value = abs(float(number.reshape(-1)[0]))
    if not TINY < value < HUGE or np.float32(value) == GELU or number.dtype.itemsize < 4:
        return True  # half precision has few digits anyway
    forms: list[tuple[float, float]] = [
        (value**power, abs(power)) for power in (1, -1, 2, -2, 4, -4)
    ]
    forms += [(value**power * unit, abs(power)) for power, unit in UNITS]
    forms += [(math.exp(x), x) for x in (value, 1 / value) if x < 10]
    return any(is_short(form, PRECISION * max(1, power)) for form, power in forms)


def is_short(value: float, tolerance: float) -> bool:
    """Whether a number has at most three digits, or is half an integer of at most four."""
    short = float(f"{value:.3g}")
    half = round(2 * value) / 2 if value < 5000 else short
    return any(abs(value - near) <= tolerance * value for near in (short, half))
