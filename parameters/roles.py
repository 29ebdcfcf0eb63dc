"""Which constant tensors of a model are parameters, by what name, and in which role.

A parameter is a floating-point tensor that decides no shape: an initializer, or the value of a
`Constant` node, since several exporters put every weight there. (A scalar that is only an exponent
is part of a formula, and none.) Its role is read off its uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxla.ir.dtypes import is_float
from onnxla.ir.model import Graph, Model, Node, Tensor, graphs_in
from onnxla.ir.names import shortened
from onnxla.ir.traverse import is_standard
from onnxla.ops.values import NOT_IN_JAX
from onnxla.parameters.evidence import Evidence, find_evidence, is_uniform
from onnxla.parameters.learned import role_of, verdict_of
from onnxla.parameters.sources import Formal, Source, extent
from onnxla.parameters.uses import Shared, find_shared
from onnxla.parameters.walk import Analysis

TRAINABLE = frozenset({"weight", "embedding", "bias", "scale"})
# A tensor with several uses has the first of these roles that one of them gives it.
ROLES = (
    "weight",
    "embedding",
    "bias",
    "scale",
    "running_statistic",
    "quantization_scale",
    "constant",
    "adapter",
)
# Metadata of a tensor that states its role, for what no operand tells: `adapter`, a factor of a
# low-rank update beside a weight.
ROLE = "onnxla.role"
# Metadata of a tensor that trains as a whole beside adapters: since it is part of a new `HEAD`, or
# since somebody `ASKED` for it.
TRAINS, HEAD, ASKED = "onnxla.trains", "head", "asked"
LONGEST_PATH = 2000  # letters of a path before a name that several subgraphs use
# Smaller tensors that are no parameters are compiled into the program; larger ones are passed.
BUFFER_SIZE = 1024


@dataclass(frozen=True)
class Parameters:
    """The constant tensors of a model that are passed to its compiled function.

    Attributes:
        params: Parameters by name, in the order of the file.
        roles: Role of each parameter.
        buffers: Large tensors that are not floating point, by name.
        static_inputs: Graph inputs that decide a shape by their value.
        undecided: What may be learned or written down, which does not train: the roles by name
            that it would have.
        whole: Parameters that train as a whole, also in a model with adapters.
    """

    params: Mapping[str, Tensor]
    roles: Mapping[str, str]
    buffers: Mapping[str, Tensor]
    static_inputs: tuple[str, ...]
    undecided: Mapping[str, str]
    whole: frozenset[str] = frozenset()

    @property
    def trained(self) -> set[str]:
        """What trains by default: the learned; of a model with adapters these and `whole`."""
        roles = {"adapter"} if "adapter" in self.roles.values() else TRAINABLE
        return {name for name, role in self.roles.items() if role in roles or name in self.whole}


def constants(
    nodes: Sequence[Node], graph: Graph | None = None, path: str = ""
) -> Iterator[tuple[str, str, Tensor]]:
    """Constant tensors with their path and name, those of subgraphs included."""
    for tensor in graph.initializers if graph else ():
        if isinstance(tensor, Tensor):
            yield path, tensor.name, tensor
    for node in nodes:
        value = node.attributes.get("value")
        if is_standard(node, "Constant") and isinstance(value, Tensor):
            yield path, node.outputs[0], value
        for key, attribute in node.attributes.items():
            for inside in graphs_in(attribute):
                inner = shortened(f"{path}{node.name or node.outputs[0]}/{key}/", LONGEST_PATH)
                yield from constants(inside.nodes, inside, inner)


def analyze(model: Model) -> Analysis:
    """What the constant tensors of a model are used for."""
    analysis = Analysis(model)
    env: dict[str, Source] = {v.name: Formal(v.name) for v in model.graph.inputs}
    env |= {t.name: t for t in model.graph.initializers if isinstance(t, Tensor)}
    analysis.walk(model.graph.nodes, env, model.opsets)
    return analysis


def named_constants(model: Model) -> dict[str, Tensor]:
    """Constant tensors by name, preceded by a path where several subgraphs use the name."""
    found = list(constants(model.graph.nodes, model.graph))
    for function in model.functions:
        found += constants(function.nodes, path=f"{function.domain}.{function.name}/")
    counts = Counter(name for _, name, _ in found)
    return {
        name if counts[name] == 1 or not path else path + name: tensor
        for path, name, tensor in found
    }


def shared_parameters(parameters: Parameters, analysis: Analysis) -> list[Shared]:
    """The parameters with a learned role that several layers read."""
    learned = {t for name, t in parameters.params.items() if parameters.roles[name] in TRAINABLE}
    return [*find_shared(analysis, learned)]


def first_role(roles: set[str]) -> str:
    """The first of `ROLES` among them; but what follows the batches does not train."""
    if "running_statistic" in roles:
        return "running_statistic"
    return next((role for role in ROLES if role in roles), "constant")


def find_parameters(model: Model, analysis: Analysis | None = None) -> Parameters:
    """The parameters of a model, whose `analysis` may be there already."""
    analysis = analyze(model) if analysis is None else analysis
    evidence = find_evidence(model)
    params: dict[str, Tensor] = {}
    roles: dict[str, str] = {}
    buffers: dict[str, Tensor] = {}
    undecided: dict[str, str] = {}
    for unique, tensor in named_constants(model).items():
        uses = analysis.uses.get(tensor, set())
        if tensor in analysis.static or tensor.dtype in NOT_IN_JAX:
            continue
        known = tensor.name in evidence.learned
        if uses == {"exponent"} and tensor.shape in ((), (1,)) and not known:
            continue  # x**2 is a formula; as a function of its exponent it is not even real
        if is_float(tensor.dtype):
            params[unique] = tensor
            roles[unique] = tensor.metadata.get(ROLE, "")
            if roles[unique] not in ROLES:
                roles[unique], open_to = decided(tensor, uses, evidence, analysis)
                if open_to:
                    undecided[unique] = open_to
        elif np.prod(tensor.shape, dtype=float) >= BUFFER_SIZE:
            buffers[unique] = tensor
    inputs = (value.name for value in model.graph.inputs)
    static_inputs = tuple(name for name in inputs if Formal(name) in analysis.static)
    whole = frozenset(name for name, tensor in params.items() if TRAINS in tensor.metadata)
    return Parameters(params, roles, buffers, static_inputs, undecided, whole)


def decided(
    tensor: Tensor, uses: Collection[str], evidence: Evidence, analysis: Analysis
) -> tuple[str, str]:
    """The role of a tensor with some uses, and the one that it would have if that were certain."""
    known = tensor.name in evidence.learned
    # Whatever it meets in the first step.
    if "state" in uses and not known and is_uniform(tensor.numpy()):
        return "constant", ""
    holds = analysis.holds_formula
    verdicts = {use: verdict_of(use, tensor, evidence, holds) for use in uses}
    learned = {role_of(use, tensor) for use, verdict in verdicts.items() if verdict == "learned"}
    open_to = {role_of(use, tensor) for use, verdict in verdicts.items() if verdict == "undecided"}
    if not learned & TRAINABLE and known and {"constant", "exponent"}.intersection(uses):
        learned.add("weight" if extent(tensor) > 1 else "scale")
    role = first_role(learned)
    return role, first_role(open_to) if open_to and role not in TRAINABLE else ""
