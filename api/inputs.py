"""What a model's inputs are given: bound to their names, checked, converted; or made at random."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla import ir
from onnxla.edit.heads import OPEN_SIZES, abstract_values
from onnxla.interpret.program import Program
from onnxla.interpret.rules.precision import in_precision
from onnxla.ir.names import listed, no_such, plain, quoted
from onnxla.ops.limits import check_size
from onnxla.ops.values import Value, is_concrete

QUOTED = 4  # elements that a message shows
OTHER_WAYS = "give inputs in order, by keyword, or as run({...})"


def bind(
    program: Program, given: Any, named: Mapping[str, Value] | None = None
) -> dict[str, Value]:
    """Inputs by name in the dtypes that the model declares.

    Args:
        program: Declares the inputs.
        given: As for `by_name`.
        named: Further inputs by name.

    Raises:
        TypeError, ValueError: An input is missing, unknown, given twice, or of another dtype or
            shape than the model states.
    """
    inputs = by_name(program, given)
    for name in named or {}:
        if name in inputs:
            raise TypeError(f"input {quoted(name)} is given twice")
    inputs = checked(program, {**inputs, **(named or {})})
    if missing := [value.name for value in program.inputs if value.name not in inputs]:
        raise TypeError(f"missing inputs: {listed(missing, plain)}{said_of_maps(program, given)}")
    return inputs


def by_name(program: Program, given: Any) -> dict[str, Any]:
    """Values by the names of the inputs that they are for, which need not be all.

    Args:
        program: Declares the inputs.
        given: One value for the first input; a tuple or list of values in order; or a dict of
            values by name, alone or in a tuple. Where the first input is itself a map, a dict is
            that input.

    Raises:
        TypeError: There are too many values.
    """
    names = [value.name for value in program.inputs]
    values = given if isinstance(given, tuple | list) else (given,)
    if is_one_dict(values) and not takes_map(program):
        return dict(values[0])
    if len(values) > len(names):
        raise TypeError(
            f"the model takes {len(names)} inputs ({listed(names, plain)}), got {len(values)}"
        )
    return dict(zip(names, values, strict=False))


def takes_map(program: Program) -> bool:
    """Whether the first input is a map, for which a dict is a value."""
    kind = program.inputs[0].type if program.inputs else None
    return isinstance(kind.element if isinstance(kind, ir.OptionalType) else kind, ir.MapType)


def is_one_dict(given: Any) -> bool:
    """Whether somebody gave a dict and nothing else."""
    return isinstance(given, tuple | list) and len(given) == 1 and isinstance(given[0], Mapping)


def said_of_maps(program: Program, given: Any) -> str:
    """What a message adds where somebody may have meant a dict as one of names."""
    if not (is_one_dict(given) and takes_map(program)):
        return ""
    return (
        f"; the dict is the value of {quoted(program.inputs[0].name)}, which is a map: {OTHER_WAYS}"
    )


def checked(program: Program, inputs: Mapping[str, Value]) -> dict[str, Value]:
    """Inputs by name, checked one by one against the model, and in its dtypes.

    Raises:
        TypeError: There is no such input, or its dtype is of another kind.
        ValueError: A shape is not what the model states.
    """
    found = {}
    for name, value in inputs.items():
        if name not in program.declared:
            raise TypeError(no_such("input", name, program.declared))
        warn_of_lost_bits(program, name, value)
        found[name] = check_input(program.declared[name], value, program.batched)
        check_lookup(program, name, found[name])
        if isinstance(found[name], list | tuple):
            with jax.enable_x64(True):
                found[name] = in_precision(found[name], program.dtype)
    return found


def check_lookup(program: Program, name: str, value: Any) -> None:
    """Raises ValueError if an array of numpy has a number that is no row of the table it is for.

    Negative numbers count from the end. Of arrays on a device nobody waits for the numbers.
    """
    if not isinstance(value, np.ndarray) or not value.size or name not in program.lookups:
        return
    if value.dtype == object:  # sequences of different lengths
        for each in value.flat:
            check_lookup(program, name, np.asarray(each))
        return
    rows = program.lookups[name].rows
    wrong = (value < -rows) | (value >= rows)
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"input {quoted(name)} has {value[tuple(place)]} at {place}, and"
            f" {program.lookups[name].node} looks it up in {quoted(program.lookups[name].table)},"
            f" which has rows 0 to {rows - 1}"
        )


def warn_of_lost_bits(program: Program, name: str, value: Value) -> None:
    """Warns where a caller's `jax.jit` may have cut integers of 64 bits whose upper half counts."""
    kind = program.declared[name].type
    if not isinstance(kind, ir.TensorType) or kind.dtype not in (np.int64, np.uint64):
        return
    if is_concrete(value) or value.dtype.itemsize != 4 or name not in program.exact_inputs:
        return
    warnings.warn(
        f"input {quoted(name)} is {kind.dtype} and came as {value.dtype}: without 64-bit types,"
        " jax.jit takes the lower half of its arguments' bits, and all count for"
        f" {program.exact_inputs[name]}. Call it within `with jax.enable_x64(True):`, or give the"
        " input as a numpy array that is no argument of jax.jit",
        stacklevel=2,
    )


def check_input(declared: ir.ValueInfo, value: Value, batched: bool = False) -> Value:
    """`value` as the model declares it: numbers of the same kind are converted, shapes compared."""
    kind = declared.type
    if isinstance(kind, ir.MapType) and isinstance(kind.value, ir.TensorType):
        # Python's numbers do not say of which dtype they are.
        dtype = kind.value.dtype
        if dtype is None or dtype == ir.STRING or not isinstance(value, Mapping):
            return value
        try:
            return {key: dtype.type(number) for key, number in value.items()}
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"input {quoted(declared.name)} is a map to {dtype}, got {value!r:.200}; if that is"
                f" a dict of inputs by name, {OTHER_WAYS}"
            ) from error
    if not isinstance(kind, ir.TensorType):
        return value
    if not hasattr(value, "dtype"):
        value = np.asarray(value)
    if kind.dtype is not None and value.dtype != kind.dtype:
        if kind.dtype == ir.STRING:
            return value.astype(object)
        if not same_kind(value.dtype, kind.dtype):
            raise TypeError(
                f"input {quoted(declared.name)} takes {kind.dtype}, got {value.dtype}{shown(value)}"
            )
        with jax.enable_x64(True):
            value = value.astype(kind.dtype)
    if kind.shape is not None:
        shape = value.shape[1:] if batched else value.shape
        fits = len(shape) == len(kind.shape) and all(
            got == size or not isinstance(size, int)
            for got, size in zip(shape, kind.shape, strict=True)
        )
        if not fits:
            sizes = ", ".join("?" if size is None else plain(size) for size in kind.shape)
            raise ValueError(
                f"input {quoted(declared.name)} takes shape [{sizes}], got {list(shape)}"
                + ("" if batched else way_to_fit(kind.shape, shape))
            )
    return value


def way_to_fit(declared: Sequence[Any], shape: Sequence[int]) -> str:
    """What a message adds where a value has another number of axes than is stated."""
    if len(shape) == len(declared) - 1:
        return "; one sample is a batch of one, x[None]"
    if len(shape) == len(declared) + 1:
        return "; to map over a leading axis, use module.batched()"
    if len(shape) and declared[0] == 1 and tuple(shape[1:]) == tuple(declared[1:]):
        return (
            "; use module.free_batch(), a file for any batch, or module.batched(), which maps over"
            " a further axis, as of x[:, None]"
        )
    return ""


def same_kind(a: Any, b: Any) -> bool:
    """Whether two dtypes are both floating point, or both integer."""
    return any(
        jnp.issubdtype(a, kind) and jnp.issubdtype(b, kind)
        for kind in (jnp.floating, jnp.integer, jnp.complexfloating)
    )


def shown(value: Value) -> str:
    """The numbers of a small array, for a message."""
    small = is_concrete([value]) and np.size(value) <= QUOTED
    return f" {np.asarray(value).tolist()!r}" if small else f" of shape {list(value.shape)}"


def unpack(values: tuple[Any, ...]) -> Any:
    """One output as itself, several as a tuple."""
    return values[0] if len(values) == 1 else values


def random_inputs(
    values: tuple[ir.ValueInfo, ...], sizes: Mapping[str, int] | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random arrays for tensor inputs: floats from N(0, 1), integers 0 and 1.

    Args:
        values: The inputs to make.
        sizes: Size of each symbolic dimension by its name; 1 where it is not given.
        seed: Seed of numpy's generator.

    Raises:
        UnsupportedError: An input is no tensor, or its type is not stated.
        ModelError: An input is too large, see `Limits`.
    """
    rng = np.random.default_rng(seed)
    sizes = sizes or {}
    arrays = {}
    for value in values:
        kind = value.type
        if not isinstance(kind, ir.TensorType) or kind.dtype is None or kind.shape is None:
            raise ir.UnsupportedError(
                f"cannot make random values for input {quoted(value.name)}, whose type is {kind}"
            )
        shape = [d if isinstance(d, int) else sizes.get(d or "", 1) for d in kind.shape]
        made = check_size(shape, kind.dtype, f"a random value for input {quoted(value.name)}")
        arrays[value.name] = random_array(rng, kind.dtype, made)
    return arrays


def suitable_inputs(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs in which sizes that the model leaves open are such that it can be evaluated.

    All open sizes are 1; or where the graph takes no such inputs, as a convolution no picture of
    one pixel, the first of some larger ones that it takes. Raises as `random_inputs` does.
    """
    kinds = [value.type for value in program.inputs if isinstance(value.type, ir.TensorType)]
    names = {d or "" for kind in kinds for d in kind.shape or () if not isinstance(d, int)}
    ones = random_inputs(program.inputs, seed=seed)
    if not names or program.data_dependent:
        return ones
    for size in (1, *OPEN_SIZES):
        with suppress(ir.OnnxlaError):
            given = random_inputs(program.inputs, dict.fromkeys(names, size), seed)
            abstract_values(program, program.output_names, given)
            return given
    return ones


def random_array(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> Any:
    """One random array."""
    if dtype == ir.STRING:
        return rng.choice(np.array(["a", "b", "onnx"], object), shape)
    if ir.is_float(dtype) or np.issubdtype(dtype, np.complexfloating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape, np.int8).astype(dtype)  # which take the least memory
