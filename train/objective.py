"""What a run makes small: a loss of some of the model's values, in training and in evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from onnxla import ir
from onnxla.ir.names import quoted
from onnxla.ir.traverse import is_standard
from onnxla.module import Module
from onnxla.ops.table import Operator, lookup
from onnxla.ops.values import Value, is_floating
from onnxla.train.digests import digest_of_programs
from onnxla.train.losses import LOGITS, OUTPUTS, Measure
from onnxla.train.means import Sums, as_wide, unweighted
from onnxla.train.measures import (
    as_numbers,
    call_measure,
    known_loss,
    plain,
    sums_of,
    telling_targets,
)
from onnxla.train.metrics import Metric, name_of


@dataclass(frozen=True)
class ValuesRead:
    """Which of a module's values a loss or metric is of.

    Attributes:
        names: Their names.
        reshaped: Whether they are logits and the output that the model makes of them, whose shape
            they are to have; nothing else of it counts.
    """

    names: tuple[str, ...]
    reshaped: bool = False

    @property
    def read(self) -> tuple[str, ...]:
        """The names of those that it reads."""
        return self.names[:1] if self.reshaped else self.names

    def of(self, found: Any) -> Any:
        """What the loss or metric is of, from the values with these names."""
        if not self.reshaped:
            return found
        logits, output = found
        return logits.reshape(output.shape)


@dataclass(frozen=True)
class Objective:
    """A loss of a module's outputs.

    Attributes:
        module: The module; of its parameters only the dtypes matter.
        loss: Function of the outputs and the targets: a scalar, or with a dict of further ones.
        values: Which values the loss is of.
        trained: Names of the parameters that train, as for `apply_train`.
        freeze_statistics: As for `apply_train`.
    """

    module: Module
    loss: Measure
    values: ValuesRead
    trained: tuple[str, ...] | None = None
    freeze_statistics: Any = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values that the model computes."""
        return self.values.names

    def of(self, module: Module) -> Objective:
        """The same of a part of the module, which makes the outputs from other inputs."""
        if self.trained is None:
            return replace(self, module=module)
        trained = tuple(name for name in self.trained if name in module.params)
        return replace(self, module=module, trained=trained)

    def train(
        self, params: Mapping[str, Value], inputs: Mapping[str, Value], targets: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[dict[str, Value], dict[str, Value]]]:
        """The loss in training; and the next running statistics, and the further scalars."""
        found, updates = self.outputs_in_training(params, inputs, key)
        value, further = self.loss_of(found, targets)
        return value, (updates, further)

    def outputs_in_training(
        self, params: Mapping[str, Value], inputs: Mapping[str, Value], key: jax.Array
    ) -> tuple[Any, dict[str, Value]]:
        """What the loss is of, and the next running statistics."""
        found, updates = self.module.apply_train(
            self.narrowed(params),
            inputs,
            key=key,
            outputs=self.outputs,
            train=self.trained,
            freeze_statistics=self.freeze_statistics,
        )
        return self.values.of(found), updates

    def loss_of(self, found: Any, targets: Any) -> tuple[jax.Array, dict[str, Value]]:
        """The loss of outputs, and the further scalars. Raises: TypeError unless it is a scalar."""
        result = call_measure(self.loss, jax.tree.map(as_wide, found), targets)
        value, further = result if isinstance(result, tuple) else (result, {})
        what = "a loss is one floating-point number, a mean for instance"
        value = as_numbers(value, what)
        if value.shape != () or not is_floating(value):
            raise TypeError(f"{what}; got {value.dtype}{list(value.shape)}")
        return value, further

    def sums(self, found: Any, targets: Any, samples: Value) -> dict[str, Sums]:
        """The loss of outputs as `loss`, and the further scalars, as sums that add up over batches.

        A loss that is not one of `onnxla.losses` counts as the mean of so many samples.
        """
        if (exact := sums_of(self.loss)) is not None:
            with telling_targets(self.loss, targets):
                return {"loss": exact(jax.tree.map(as_wide, found), *unweighted(targets))}
        value, further = self.loss_of(found, targets)
        every = {"loss": value, **further}
        return {name: Sums(jnp.asarray(x) * samples, samples) for name, x in every.items()}

    def digest(self, inputs: Mapping[str, Value], targets: Any) -> str:
        """The digest of what is computed in training, by which a loss is known that has no name."""
        arguments = self.module.params, inputs, targets, jax.random.key(0)
        return digest_of_programs(jax.make_jaxpr(self.train)(*arguments))

    def narrowed(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Those of the module among some parameters, in the model's dtypes."""
        own = self.module.program.stacks(self.outputs).within(params).keyed(self.module.params)
        return {name: params[name].astype(value.dtype) for name, value in own.items()}


def make_objective(
    module: Module,
    loss: Measure,
    outputs: Sequence[str] | None,
    trained: Sequence[str] | None = None,
    freeze_statistics: Any = None,
) -> Objective:
    """The objective of a loss, which reads logits where the model would make probabilities."""
    values = values_read(module, outputs, loss)
    trained = None if trained is None else tuple(trained)
    return Objective(module, loss, values, trained, freeze_statistics)


def values_read(module: Module, outputs: Sequence[str] | None, measure: Measure) -> ValuesRead:
    """The values that a loss or metric is a function of: of one output, the logits if any.

    Raises:
        ValueError: It is one of `onnxla.losses`, and there are more outputs than it takes, or less.
    """
    names = tuple(outputs or module.output_names)
    known = known_loss(measure) or isinstance(plain(measure), Metric)
    wanted = OUTPUTS.get(plain(measure), (1,))
    if known and len(names) not in wanted:
        numbers = {1: "one output", 2: "two outputs", 3: "three outputs"}
        number = " or ".join(numbers[n] for n in wanted)
        which = f"say which with outputs=[{quoted(names[0])}]"
        if len(names) < min(wanted):
            which = "name them with outputs=[...]"
        raise ValueError(
            f"{name_of(measure)} is of {number}, and there are {', '.join(names)}; {which}"
        )
    if len(names) == 1:
        return find_logits(module.program.model, names[0], measure)
    return ValuesRead(names)


# Nodes whose result is what they read, in ONNX's domain or ONNX Runtime's.
SAME = frozenset({"Identity", "QuantizeLinear", "DequantizeLinear"})


def find_logits(model: ir.Model, output: str, loss: Measure) -> ValuesRead:
    """What a loss or metric should read for an output: what its Softmax or Sigmoid reads.

    Computing probabilities and their logarithm in one step is exact where two steps underflow. A
    Softmax may also be written out: Exp(z) divided by its sum. A Sigmoid's result may be reshaped,
    and a quantizer's pair of nodes may round either.
    """
    inner = plain(loss)
    kinds = inner.logits if isinstance(inner, Metric) else LOGITS.get(inner, ())
    # Other metrics are of the order of the outputs, which is the same for probabilities.
    warned = kinds if isinstance(inner, Metric) else ("categorical", "binary")
    makers = {name: node for node in model.graph.nodes for name in node.outputs}

    def operator(node: ir.Node) -> Operator | None:
        return lookup(node.domain, node.op_type, model.opsets.get(node.domain, 1))

    def moved(node: ir.Node, *ways: str) -> bool:
        """Whether a node moves elements in one of some ways, and so writes out a broadcast."""
        found = operator(node)
        return found is not None and found.moves in ways

    def maker(name: str, *ways: str) -> tuple[str, ir.Node | None]:
        """What made a value's elements, and the name under which it did."""
        node = makers.get(name)
        while node is not None and (node.op_type in SAME or moved(node, *ways)):
            name = node.inputs[0]
            node = makers.get(name)
        return name, node

    def probabilities(node: ir.Node) -> str | None:
        """Which kind of probabilities a node makes, if any."""
        found = operator(node)
        return None if found is None else found.probabilities

    _, node = maker(output)
    if node is None or not kinds:
        return ValuesRead((output,))
    if probabilities(node) in kinds:
        return ValuesRead((node.inputs[0],))
    if is_standard(node, "Div") and "categorical" in kinds:
        exponentials, exp = maker(node.inputs[0])
        _, total = maker(node.inputs[1], "reshaped", "repeated")
        summed = total is not None and is_standard(total, "ReduceSum") and maker(total.inputs[0])[0]
        if exp is not None and is_standard(exp, "Exp") and summed == exponentials:
            return ValuesRead((exp.inputs[0],))
    _, node = maker(output, "reshaped")
    if "binary" in kinds and node is not None and probabilities(node) == "binary":
        return ValuesRead((node.inputs[0], output), reshaped=True)
    _, node = maker(output, "reshaped", "repeated", "permuted")
    if node is not None and probabilities(node) in warned:
        warnings.warn(
            f"{quoted(output)} comes from {node}, and {name_of(loss)} is of logits: pass "
            "outputs=[...] with the name of the logits, or a loss of probabilities",
            stacklevel=2,
        )
    return ValuesRead((output,))
