"""`Module`: an ONNX model as a JAX function with its parameters."""

from __future__ import annotations

import fnmatch
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla import ir
from onnxla.interpret.parameters import TRAINABLE
from onnxla.interpret.program import Program
from onnxla.ir.edit import cut, replace_tensors
from onnxla.ops.values import Value
from onnxla.report import Report
from onnxla.summary import describe_type, summarize


def load(source: Any) -> Module:
    """Loads an ONNX model.

    Args:
        source: A path, the file's bytes, a binary file object, anything with
            `SerializeToString()`, such as an `onnx.ModelProto`, or an `onnxla.ir.Model`. External
            data is looked for in the folder of a path.

    Raises:
        ModelError: The file is malformed, inconsistent or unsafe; the message lists what is wrong.
    """
    model = source if isinstance(source, ir.Model) else ir.read(source)
    ir.verify(model)
    program = Program(model)
    with jax.enable_x64(True):
        params = {k: to_device(tensor) for k, tensor in program.parameters.params.items()}
    return Module(params, program)


def to_device(tensor: ir.Tensor) -> jax.Array:
    """A tensor as a JAX array. Only one tensor at a time is in memory twice."""
    # A copy: on the CPU, JAX may otherwise alias the mapped file.
    array = jnp.array(tensor.numpy()).block_until_ready()
    tensor.release()
    return array


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["program"]
)
class Module:
    """A model as a function of its inputs, and a pytree whose leaves are its parameters.

    Attributes:
        params: Parameters by ONNX name: the floating-point constants that decide no shape.
        program: The model and what has been compiled of it, shared by modules that differ only in
            their parameters.
    """

    params: dict[str, jax.Array]
    program: Program

    def __init__(self, params: dict[str, jax.Array], program: Program) -> None:
        self.params = params
        self.program = program

    @property
    def roles(self) -> Mapping[str, str]:
        """Role of each parameter, such as `weight`, `bias` or `constant`; see `partition`."""
        return self.program.parameters.roles

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that a call takes, in order."""
        return tuple(value.name for value in self.program.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return self.program.output_names

    def __call__(self, *args: Value, key: jax.Array | None = None, **kwargs: Value) -> Any:
        """The outputs for inputs by position or by ONNX name; compiled once per input shape.

        Returns:
            The output, or a tuple of the outputs in graph order if there are several.

        Raises:
            TypeError, ValueError: An input is missing, unknown, or of another dtype or shape than
                the model states.
        """
        return unpack(self.program.call(self.params, self._bind(args, kwargs), key))

    def run(self, inputs: Mapping[str, Value], key: jax.Array | None = None) -> dict[str, Any]:
        """Outputs by name for inputs by name."""
        values = self.program.call(self.params, self.check_inputs(inputs), key)
        return dict(zip(self.output_names, values, strict=True))

    def apply(
        self,
        params: Mapping[str, Value],
        *args: Value,
        key: jax.Array | None = None,
        outputs: Sequence[str] | None = None,
        **kwargs: Value,
    ) -> Any:
        """The outputs as a pure function of parameters and inputs, for `jax.jit` and `jax.grad`.

        An input given as a numpy array is a known value: whatever is computed from it alone is
        computed while tracing, and it may decide shapes.

        Args:
            params: All parameters by name.
            *args: Inputs in order.
            key: JAX key for operators that draw random numbers.
            outputs: Names of values to return instead of the graph's outputs; intermediate values
                may be among them.
            **kwargs: Inputs by ONNX name.

        Raises:
            StaticOperandError: The shape of some value depends on traced data. The message names
                the node, the operand and where it comes from.
        """
        inputs = self._bind(args, kwargs)
        return unpack(self.program.evaluate(params, inputs, key=key, outputs=outputs))

    def apply_train(
        self,
        params: Mapping[str, Value],
        *args: Value,
        key: jax.Array | None = None,
        outputs: Sequence[str] | None = None,
        **kwargs: Value,
    ) -> tuple[Any, dict[str, Value]]:
        """`apply` as in training: with the batch's statistics, and values dropped at random.

        BatchNormalization in inference form, as most files have it, trains too; one within a branch
        or a loop uses the batch's statistics and leaves the running ones as they are. Of a
        `batched` module each element is a batch of its own.

        Args:
            params: All parameters by name.
            *args: Inputs in order.
            key: JAX key that decides what is dropped; needed if the model has a Dropout.
            outputs: As for `apply`.
            **kwargs: Inputs by ONNX name.

        Returns:
            The outputs, and the next running statistics by parameter name, for
            `{**params, **updates}` before the next step.
        """
        updates: dict[str, Value] = {}
        values = self.program.evaluate(
            params, self._bind(args, kwargs), key=key, outputs=outputs, updates=updates
        )
        return unpack(values), updates

    def replace(self, params: Mapping[str, Value]) -> Module:
        """The same model with other values for some or all of its parameters.

        Raises:
            ValueError: A name is no parameter, or a value's shape is not that of the parameter.
        """
        for name, value in params.items():
            if name not in self.params:
                raise ValueError(f"no parameter is named '{name}'")
            if np.shape(value) != self.params[name].shape:
                raise ValueError(
                    f"parameter '{name}' has shape {self.params[name].shape}, not {np.shape(value)}"
                )
        with jax.enable_x64(True):
            new = {name: jnp.asarray(value) for name, value in params.items()}
        return Module({**self.params, **new}, self.program)

    def partition(
        self, *patterns: str, roles: Sequence[str] | None = None
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The parameters in two: (to train, to freeze). `{**train, **frozen}` are all of them.

        Args:
            *patterns: Names or shell-style patterns (`head.*`) of the parameters to train; without
                any, all whose role is one of `roles`.
            roles: Roles to train; by default those of learned weights: weight, bias, scale and
                embedding. With patterns and no roles given, the patterns alone decide.

        Raises:
            ValueError: A pattern matches no parameter.
        """
        for pattern in patterns:
            if pattern not in self.params and not fnmatch.filter(self.params, pattern):
                raise ValueError(
                    f"no parameter matches '{pattern}'; there are {', '.join([*self.params][:8])}"
                )
        wanted = TRAINABLE if roles is None and not patterns else roles

        def trains(name: str) -> bool:
            # As it is, too: ONNX names may contain brackets, which a pattern reads as a set.
            matches = any(name == p or fnmatch.fnmatchcase(name, p) for p in patterns)
            return (matches or not patterns) and (wanted is None or self.roles[name] in wanted)

        train = {name: value for name, value in self.params.items() if trains(name)}
        frozen = {name: value for name, value in self.params.items() if name not in train}
        return train, frozen

    def specialize(self, **inputs: Value) -> Module:
        """The model with some inputs fixed to known values.

        They are then no longer inputs, and may decide shapes. `save` still writes the whole model.
        """
        bound = self._bind((), inputs, partial=True)
        fixed = {name: np.asarray(value) for name, value in bound.items()}
        program = self.program
        fixed = {**program.fixed, **fixed}
        return Module(self.params, Program(program.model, fixed, program.batched))

    def cut(
        self, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
    ) -> Module:
        """The part of the model between values of its graph, as a module that can be saved.

        Args:
            inputs: Names of values that become inputs (default: the graph's own).
            outputs: Names of values that become outputs (default: the graph's own).
        """
        part = cut(self.program.model, inputs, outputs)
        names = {value.name for value in part.graph.inputs}
        fixed = {name: value for name, value in self.program.fixed.items() if name in names}
        program = Program(part, fixed, self.program.batched)
        return Module({k: self.params[k] for k in program.parameters.params}, program)

    def batched(self) -> Module:
        """The model mapped over a new leading axis of every input: for a model with batch 1."""
        return Module(self.params, Program(self.program.model, self.program.fixed, batched=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model with the current parameters as ONNX.

        Only tensors that changed are changed, in the file's own element types; names, order,
        metadata, opsets and unknown fields stay. The file is written beside the target and renamed,
        so that a failure loses nothing.
        """
        ir.save(self.to_ir(), path)

    def to_ir(self) -> ir.Model:
        """The model as data, with the current parameters."""
        changed = {}
        for name, tensor in self.program.parameters.params.items():
            value = np.asarray(self.params[name]).astype(tensor.dtype)
            if value.tobytes() != tensor.numpy().tobytes():
                changed[tensor] = tensor.with_data(value)
        return replace_tensors(self.program.model, changed)

    def summary(self) -> Report:
        """Inputs, outputs, operators and parameters by role: text, or HTML in a notebook."""
        program = self.program
        return summarize(program.model, program.parameters, program.fixed)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{v.name}: {describe_type(v.type)}" for v in self.program.inputs)
        count = sum(np.size(value) for value in self.params.values())
        return (
            f"Module({inputs}) -> ({', '.join(self.output_names)}), "
            f"{count:,} parameters in {len(self.params)} tensors"
        )

    def check_inputs(self, inputs: Mapping[str, Value]) -> dict[str, Value]:
        """Inputs by name in the model's dtypes. Raises: TypeError or ValueError if they differ."""
        return self._bind((), inputs)

    def _bind(
        self, args: Sequence[Value], kwargs: Mapping[str, Value], partial: bool = False
    ) -> dict[str, Value]:
        """Inputs by name, checked against the model and in its dtypes."""
        expected = {value.name: value for value in self.program.inputs}
        if len(args) > len(expected):
            raise TypeError(
                f"the model takes {len(expected)} inputs ({', '.join(expected)}), got {len(args)}"
            )
        inputs = dict(zip(expected, args, strict=False))
        for name, value in kwargs.items():
            if name in inputs:
                raise TypeError(f"input '{name}' is given twice")
            if name not in expected and name not in self.program.defaults:
                raise TypeError(f"the model has no input '{name}'; it takes {', '.join(expected)}")
            inputs[name] = value
        if not partial and (missing := [name for name in expected if name not in inputs]):
            raise TypeError(f"missing inputs: {', '.join(missing)}")
        with jax.enable_x64(True):
            return {
                name: check_input(
                    expected.get(name) or self.program.defaults[name], value, self.program.batched
                )
                for name, value in inputs.items()
            }


def unpack(values: tuple[Any, ...]) -> Any:
    """One output as itself, several as a tuple."""
    return values[0] if len(values) == 1 else values


def check_input(declared: ir.Value, value: Value, batched: bool = False) -> Value:
    """`value` as the model declares it: numbers of the same kind are converted, shapes compared."""
    kind = declared.type
    if not isinstance(kind, ir.TensorType):
        return value
    if not hasattr(value, "dtype"):
        value = np.asarray(value)
    if kind.dtype is not None and value.dtype != kind.dtype:
        if kind.dtype == ir.STRING:
            return value.astype(object)
        if not same_kind(value.dtype, kind.dtype):
            raise TypeError(f"input '{declared.name}' takes {kind.dtype}, got {value.dtype}")
        value = value.astype(kind.dtype)
    if kind.shape is not None:
        shape = value.shape[1:] if batched else value.shape
        fits = len(shape) == len(kind.shape) and all(
            got == size or not isinstance(size, int)
            for got, size in zip(shape, kind.shape, strict=True)
        )
        if not fits:
            sizes = ", ".join("?" if size is None else str(size) for size in kind.shape)
            raise ValueError(
                f"input '{declared.name}' takes shape [{sizes}], got {list(shape)}"
                + ("" if batched else "; to map over a leading axis, use module.batched()")
            )
    return value


def same_kind(a: Any, b: Any) -> bool:
    """Whether two dtypes are both floating point, or both integer."""
    return any(
        jnp.issubdtype(a, kind) and jnp.issubdtype(b, kind)
        for kind in (jnp.floating, jnp.integer, jnp.complexfloating)
    )
