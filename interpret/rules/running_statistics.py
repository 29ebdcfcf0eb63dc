"""Training: operators use a batch's statistics, and the running ones follow them.

Which parameter a running statistic is, the analysis of the model says: the operand's source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from onnxla.interpret.calls import Call, Results, Rule, Then
from onnxla.ir.model import Tensor
from onnxla.ops.values import Value


def update_statistics(
    names: Mapping[Tensor, str], frozen: Collection[str], updates: dict[str, Value]
) -> Rule:
    """A rule that calls operators as in training and notes the next running statistics.

    Args:
        names: Names of the parameters.
        frozen: Running statistics that stay; a call with one of them is as in inference.
        updates: Gets the others' next values by name. What a step of a loop or a branch makes
            cannot leave it but as its output, so their statistics stay too.
    """

    def rule(call: Call, then: Then) -> Results:
        statistics = [None if t is None else names.get(t) for t in running_statistics(call)]
        fixed = any(name in frozen for name in statistics)
        filled = {"train": True, "frozen": fixed}
        asked = {k: v for k, v in filled.items() if k in call.operator.reserved}
        results = then(replace(call, keywords={**call.keywords, **asked}))
        if not fixed and not call.nested:
            # The next values are the outputs after the first, in the operands' order.
            for name, following in zip(statistics, results[1:], strict=False):
                if name:
                    updates[name] = following
        return results

    return rule


def running_statistics(call: Call) -> Iterator[Tensor | None]:
    """The constant tensors that are operands with the role of a running statistic, if any are."""
    operands = zip(call.operator.inputs, call.operands, call.sources, strict=False)
    for name, value, source in operands:
        if call.operator.roles.get(name) == "running_statistic":
            yield source if isinstance(source, Tensor) and source.shape == value.shape else None
