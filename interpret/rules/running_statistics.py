"""Training: operators use a batch's statistics, and the running ones follow them.

Which parameter a running statistic is, the analysis of the model says: the operand's source. One
that several calls share is updated by one after the other. Control flow carries those of its
subgraphs as further state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp

from onnxla.interpret.calls import Call, Results, Rule, Then
from onnxla.ir.errors import UnsupportedError
from onnxla.ir.model import Graph, Tensor
from onnxla.ir.names import quoted
from onnxla.ops.normalize import ALONE, Sample
from onnxla.ops.values import Value
from onnxla.parameters.selection import KeptStatistics
from onnxla.parameters.sources import Formal, Producer, Source, leaves
from onnxla.parameters.statistics import STATISTIC


@dataclass(frozen=True)
class Training:
    """How a model is evaluated as in training.

    Attributes:
        updates: Gets the next values of running statistics by name.
        kept: Which layers keep their running statistics: a call of theirs is as in inference.
        sample: What a batch is to the running statistics.
    """

    updates: dict[str, Value]
    kept: KeptStatistics
    sample: Sample = ALONE

    def mapped(self, updates: dict[str, Value], axis_name: str) -> Training:
        """The same for the elements of a batch that is mapped over."""
        return replace(self, updates=updates, sample=replace(self.sample, axis_name=axis_name))


def update_statistics(
    names: Mapping[Tensor, str | None],
    params: Mapping[str, Value],
    training: Training,
) -> Rule:
    """A rule that calls operators as in training and notes the next running statistics.

    Args:
        names: Names of the parameters; None of one whose value a caller gives as an input.
        params: Their values.
        training: How they are evaluated.

    Raises:
        UnsupportedError: A statistic that should be updated is computed.
    """

    def rule(call: Call, then: Then) -> Results:
        statistics = name_operands(call, names, STATISTIC)
        learned = [*name_operands(call, names, "scale", "bias").values()]
        computed = any(is_computed(call.sources[index]) for index in statistics)
        fixed = computed or (bool(statistics) and training.kept(statistics.values(), learned))
        filled = {"train": True, "frozen": fixed, "sample": training.sample}
        asked = {k: v for k, v in filled.items() if k in call.operator.reserved}
        call = replace(call, keywords={**call.keywords, **asked})
        if fixed or not statistics or call.updates is None:
            return then(call)
        operands = [*call.operands]
        for index, name in statistics.items():
            if name is None and isinstance(call.sources[index], Formal | Tensor):
                continue
            merged = name in learned or [*statistics.values()].count(name) > 1
            if name is None or merged:
                raise UnsupportedError(cannot_follow(call, index))
            if name in call.updates:  # by another call of the layer
                operands[index] = like(operands[index], call.updates[name])
        results = then(replace(call, operands=operands))
        # The next values are the outputs after the first, in the operands' order.
        for name, following in zip(statistics.values(), results[1:], strict=False):
            if name is not None:
                call.updates[name] = like(params[name], following)
        return results

    return rule


def carry_statistics(names: Mapping[Tensor, str | None], params: Mapping[str, Value]) -> Rule:
    """A rule by which control flow hands on the running statistics of its subgraphs."""

    def rule(call: Call, then: Then) -> Results:
        found = (names.get(source) for source in call.carried if isinstance(source, Tensor))
        used = [*filter(None, found)]
        if call.updates is None or not used:
            return then(call)
        if "carry" not in call.operator.reserved:
            raise UnsupportedError(
                f"training cannot update the running statistic {quoted(used[0])} in a subgraph of "
                f"{call.node}; freeze_statistics=True keeps all"
            )
        updated = set[str]()

        def handing_on(subgraph: Callable[..., Results]) -> Callable[..., Results]:
            def inner(*args: Value, carry: Sequence[Value], **keywords: Value) -> Results:
                updates = dict(zip(used, carry, strict=True))
                results = subgraph(*args, updates=updates, **keywords)
                following = [updates[name] for name in used]
                updated.update(
                    name for name, a, b in zip(used, carry, following, strict=True) if a is not b
                )
                return (*results, *following)

            inner.__name__ = subgraph.__name__
            return inner

        keywords = {
            k: handing_on(v) if isinstance(call.node.attributes.get(k), Graph) else v
            for k, v in call.keywords.items()
        }
        keywords["carry"] = [call.updates.get(name, params[name]) for name in used]
        results = then(replace(call, keywords=keywords))
        own = len(results) - len(used)
        following = zip(used, results[own:], strict=True)
        call.updates.update((name, value) for name, value in following if name in updated)
        return results[:own]

    return rule


def name_operands(
    call: Call, names: Mapping[Tensor, str | None], *roles: str
) -> dict[int, str | None]:
    """Names of the parameters that operands in some roles are, by the operands' positions."""
    found: dict[int, str | None] = {}
    for index, source in enumerate(call.sources):
        if (
            call.operator.inputs
            and call.operator.roles.get(call.operator.input_name(index)) in roles
        ):
            found[index] = names.get(source) if isinstance(source, Tensor) else None
    return found


def is_computed(source: Source) -> bool:
    """Whether a statistic is computed from data, as of a layer that keeps no running ones."""
    if not isinstance(source, Producer) or source.operator is None or source.constant:
        return False
    return not any(isinstance(leaf, Tensor) for leaf in leaves(source))


def like(old: Value, new: Value) -> Value:
    """A statistic in the shape and dtype of what stands for it elsewhere."""
    return jnp.reshape(new, old.shape).astype(old.dtype)


def cannot_follow(call: Call, index: int) -> str:
    """The message that a statistic cannot be updated."""
    return (
        f"training cannot update the running statistic {quoted(call.node.inputs[index])} of "
        f"{call.node}: it is computed, in another order or a part of a tensor of the file, or one "
        "that is something else too; freeze_statistics=True, or the layer's patterns, keeps it"
    )
