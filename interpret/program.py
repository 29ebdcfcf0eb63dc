"""A model prepared for evaluation: what goes in, what comes out, and how a call is compiled."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from onnxla.interpret.eval import Context, eval_graph
from onnxla.interpret.parameters import Parameters, find_parameters
from onnxla.interpret.support import unsupported
from onnxla.ir.dtypes import STRING
from onnxla.ir.edit import cut
from onnxla.ir.errors import StaticOperandError, UnsupportedError
from onnxla.ir.model import (
    Graph,
    MapType,
    Model,
    OptionalType,
    SequenceType,
    TensorType,
    Type,
    Value,
)
from onnxla.ops.values import Value as Array
from onnxla.ops.values import as_traced, is_concrete

# A known input is part of the key under which a compiled program is kept, so it must be small; and
# if it is floating point it must be a few numbers such as scales, not data that differs every time.
KNOWN_SIZE, KNOWN_FLOATS = 1024, 8


class Known:
    """Known inputs by name, hashable by their contents: a static argument of `jax.jit`."""

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        self.inputs = inputs
        self.key = tuple(
            (name, x.dtype, x.shape, tuple(x.flat) if x.dtype == STRING else x.tobytes())
            for name, x in inputs.items()
        )

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self.key == other.key


def has_map(kind: Type) -> bool:
    """Whether a type is a map, or a sequence or optional of maps."""
    if isinstance(kind, SequenceType | OptionalType):
        return has_map(kind.element)
    return isinstance(kind, MapType)


def may_be_known(value: Array) -> bool:
    """Whether an input may decide a shape by being part of a compiled program's key."""
    array = np.asarray(value)
    return array.size <= (KNOWN_SIZE if array.dtype.kind in "iubO" else KNOWN_FLOATS)


def is_text(value: Value) -> bool:
    """Whether a value is declared as a tensor of strings."""
    return isinstance(value.type, TensorType) and value.type.dtype == STRING


@dataclass(eq=False)
class Program:
    """A model with some inputs fixed to known values, as a function of the others.

    Compared by identity: modules that share a program share what it has compiled.

    Attributes:
        model: The model.
        fixed: Inputs that are fixed, by name.
        batched: Whether inputs and outputs have one more leading axis, mapped over with `vmap`.
        static: Inputs that were found to decide a shape; a call is compiled for their values.
        eager: Whether some shape was found to depend on data that cannot be such an input, so that
            calls run operator by operator.
    """

    model: Model
    fixed: Mapping[str, Array] = field(default_factory=dict)
    batched: bool = False
    static: frozenset[str] = frozenset()
    eager: bool = False

    def __post_init__(self) -> None:
        # JAX has no strings: they are known where they come in, and cannot come out of `jax.jit`.
        self.static |= {value.name for value in self.inputs if is_text(value)}
        self.eager |= any(map(is_text, self.model.graph.outputs))
        # Nor has it maps with keys that are only known when a call is made.
        ends = (*self.model.graph.inputs, *self.model.graph.outputs)
        self.eager |= any(has_map(value.type) for value in ends)

    @functools.cached_property
    def parameters(self) -> Parameters:
        """The parameters of the model."""
        return find_parameters(self.model)

    @functools.cached_property
    def buffers(self) -> dict[str, jax.Array]:
        """Large constants that are no parameters, on the device."""
        with jax.enable_x64(True):
            return {k: jax.device_put(t.numpy()) for k, t in self.parameters.buffers.items()}

    @functools.cached_property
    def names(self) -> dict[Any, str]:
        """Names of the tensors that are parameters or buffers."""
        both = {**self.parameters.params, **self.parameters.buffers}
        return {tensor: name for name, tensor in both.items()}

    @functools.cached_property
    def inputs(self) -> tuple[Value, ...]:
        """Inputs that a call must give: those without a default that are not fixed."""
        given = {t.name for t in self.model.graph.initializers} | set(self.fixed)
        return tuple(value for value in self.model.graph.inputs if value.name not in given)

    @functools.cached_property
    def defaults(self) -> dict[str, Value]:
        """Inputs that a call may give, by name: those with a default, and those that are fixed."""
        given = {value.name for value in self.inputs}
        return {v.name: v for v in self.model.graph.inputs if v.name not in given}

    @functools.cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of the graph outputs."""
        return tuple(value.name for value in self.model.graph.outputs)

    def graph(self, outputs: tuple[str, ...] | None) -> Graph:
        """The graph without the nodes that nothing in `outputs` needs."""
        if outputs not in self._graphs:
            self._graphs[outputs] = cut(self.model, outputs=outputs).graph
        return self._graphs[outputs]

    @functools.cached_property
    def _graphs(self) -> dict[tuple[str, ...] | None, Graph]:
        return {}

    def evaluate(
        self,
        params: Mapping[str, Array],
        inputs: Mapping[str, Array],
        buffers: Mapping[str, Array] | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> tuple[Array, ...]:
        """Values of `outputs`: pure, and traceable where no shape depends on traced data."""
        if self.batched:
            return self._evaluate_batched(params, inputs, buffers, key, train, outputs)
        if wrong := set(params) ^ set(self.parameters.params):
            missing = sorted(wrong.difference(params))
            raise TypeError(
                f"params lacks {missing[:5]}" if missing else f"no parameters {sorted(wrong)[:5]}"
            )
        buffers = self.buffers if buffers is None else buffers
        constants = {**buffers, **params}

        def read(tensor: Any) -> Array:
            name = self.names.get(tensor)
            return tensor.numpy() if name is None else constants[name]

        functions = {(f.domain, f.name, f.overload): f for f in self.model.functions}
        context = Context(self.model.opsets, functions, read, key=key, train=train)
        with jax.enable_x64(True):
            try:
                graph = self.graph(None if outputs is None else tuple(outputs))
                values = eval_graph(graph, {**self.fixed, **inputs}, context)
            except UnsupportedError as error:
                error.args = ("\n  ".join([str(error), *unsupported(self.model)]),)
                raise
            except StaticOperandError as error:
                error.args = (self._explain(error),)
                raise
            return tuple(map(as_traced, values))

    def _evaluate_batched(
        self,
        params: Mapping[str, Array],
        inputs: Mapping[str, Array],
        buffers: Mapping[str, Array] | None,
        key: jax.Array | None,
        train: bool,
        outputs: Sequence[str] | None,
    ) -> tuple[Array, ...]:
        """`evaluate` of each element along the leading axis of the inputs."""
        one = Program(self.model, self.fixed)

        def evaluate(key: jax.Array | None, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
            return one.evaluate(params, inputs, buffers, key=key, train=train, outputs=outputs)

        with jax.enable_x64(True):
            inputs = {name: as_traced(value) for name, value in inputs.items()}
            if key is not None:
                key = jax.random.split(key, len(jax.tree.leaves(inputs)[0]))
            return jax.vmap(evaluate)(key, inputs)

    def _explain(self, error: StaticOperandError) -> str:
        """The error's message with where the operand comes from and what to do."""
        message = str(error)
        inputs = [name for name in error.names if name not in self.parameters.params]
        params = [name for name in error.names if name in self.parameters.params]
        if params:
            message += f"; it is computed from the parameters {', '.join(map(repr, params))}"
        if inputs:
            message += (
                f"; it is computed from the graph inputs {', '.join(map(repr, inputs))}. Fix them "
                f"with module.specialize({', '.join(f'{name}=value' for name in inputs)}), pass "
                "them as numpy arrays, or take the part of the model before this node with "
                "module.cut(outputs=[...])"
            )
        return message

    @functools.cached_property
    def _compiled(self) -> Any:
        def run(
            known: Known,
            params: Mapping[str, Array],
            buffers: Mapping[str, Array],
            traced: Mapping[str, Array],
            key: jax.Array | None,
        ) -> tuple[Array, ...]:
            return self.evaluate(params, {**known.inputs, **traced}, buffers, key=key)

        return jax.jit(run, static_argnums=0)

    def call(
        self,
        params: Mapping[str, Array],
        inputs: Mapping[str, Array],
        key: jax.Array | None = None,
    ) -> tuple[Array, ...]:
        """Outputs for `inputs`, compiled once for each combination of shapes and known inputs.

        Which inputs must be known is found by tracing: an input that turns out to decide a shape is
        known from then on. Where that is not enough, operators run one by one on concrete values.
        """
        with jax.enable_x64(True):
            while not self.eager:
                known = Known({k: np.asarray(inputs[k]) for k in inputs if k in self.static})
                traced = {k: v for k, v in inputs.items() if k not in self.static}
                try:
                    outputs: tuple[Array, ...] = self._compiled(
                        known, params, self.buffers, traced, key
                    )
                    return outputs
                except StaticOperandError as error:
                    found = {name for name in error.names if name in inputs}
                    if not is_concrete(jax.tree.leaves((params, inputs))):
                        raise
                    small = all(may_be_known(inputs[name]) for name in found)
                    if found - self.static and found == set(error.names) and small:
                        self.static |= found
                    else:
                        self.eager = True
            return self.evaluate(params, inputs, key=key)
