"""What must hold for every case in onnxla, whatever its values: properties, each a function.

Each takes a case and returns whether the property says anything about it: a model of strings has no
gradient. It raises `PropertyViolated` where it does not hold.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx

import onnxla
from onnxla import ir
from onnxla.edit.upgrade import NEWEST
from onnxla.ops.values import is_floating
from onnxla.peers.protocol import Runtime
from onnxla.testing.case import Case
from onnxla.testing.outcomes import Outcome, one_line, runtime_of
from onnxla.testing.runtime_properties import (
    RuntimeProperty,
    batch_entries_are_independent,
    converter_keeps_the_answer,
    judge_by_itself,
    outputs_are_as_inferred,
)
from onnxla.testing.schemas import schema
from onnxla.testing.selection import infinities_reach_what_depends_on_them
from onnxla.testing.traceable import (
    PropertyViolated,
    assert_same,
    compiled,
    on_device,
    run_traced,
    traceable,
)
from onnxla.testing.use import is_use

# A property of a case; false if it does not apply.
Property = Callable[[Case], bool]


@functools.lru_cache(maxsize=1)
def answer(case: Case) -> dict[str, Any]:
    """The outputs by name, as a user gets them."""
    return onnxla.load(case.model).run(case.inputs, key=jax.random.key(0))


def of_onnxla(holds: RuntimeProperty) -> Property:
    """A property of any runtime, of this package."""

    def run(model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        return list(onnxla.load(model).run(inputs, key=jax.random.key(0)).values())

    @functools.wraps(holds)
    def held(case: Case) -> bool:
        return holds(case, run, list(answer(case).values()))

    return held


def jit_equals_eager(case: Case) -> bool:
    """A compiled program computes what its operations do one by one, as outside `jax.jit`."""
    if (f := traceable(case)) is None:
        return False
    eager = f.function(on_device(f.traced))
    assert_same(case, compiled(case), eager, "jit differs from eager")
    return True


def known_equals_traced(case: Case) -> bool:
    """Evaluation on known values, as in shape arithmetic, gives what the compiled program does."""
    if (f := traceable(case)) is None:
        return False
    known = f.function(f.traced)
    assert_same(case, known, compiled(case), "known values differ from traced ones")
    return True


def vmap_equals_loop(case: Case) -> bool:
    """A batch under `jax.vmap` gives what its elements give one by one.

    The second element has the numbers of the first in another order.
    """
    if (f := traceable(case)) is None or case.tolerance.random:
        return False
    # Integers stay: in another order they might be no indices.
    other = {k: np.flip(v) if is_floating(v) else v for k, v in f.traced.items()}
    loop = [compiled(case), jax.jit(f.function)(on_device(other))]
    stacked = {k: np.stack([v, other[k]]) for k, v in f.traced.items()}
    batched = jax.jit(jax.vmap(f.function))(on_device(stacked))
    for index, expected in enumerate(loop):
        got = jax.tree.map(lambda value, i=index: value[i], batched)
        assert_same(case, got, expected, f"element {index} under vmap differs")
    return True


# Outputs, and their derivatives along the line in forward and in reverse mode.
Derivatives = tuple[list[jax.Array], float, float]


@dataclass(frozen=True)
class Differentiable:
    """A case in double precision, as one number along a line: what derivatives are checked by.

    Attributes:
        along: Floating outputs and derivatives at a distance along the line from its start: the
            inputs, moved a little, so that they are not at kinks or ties.
        cotangent: The weights of the outputs.
        start: What is at the start of the line.
    """

    along: Callable[[float], Derivatives]
    cotangent: list[np.ndarray]
    start: Derivatives


@functools.lru_cache(maxsize=1)
def differentiable(case: Case) -> Differentiable | None:
    """The derivatives of a case, or None where it has none: nothing floats, or it has no value."""
    if (f := traceable(case)) is None:
        return None
    rng = np.random.default_rng(0)
    names = [k for k, v in f.traced.items() if is_floating(v) and v.dtype.itemsize > 1 and v.size]
    others = {k: v for k, v in f.traced.items() if k not in names}
    start, direction = {}, {}
    for name in names:
        x = f.traced[name].astype(np.float64)
        r = rng.uniform(0.5, 1.0, x.shape)
        # Towards zero, since many a domain ends at 1 or -1.
        start[name] = np.where(x == 0, 1e-3 * r, x * (1 - 1e-2 * r))
        direction[name] = rng.uniform(-1, 1, x.shape)
    wide = model_in_double_precision(case)
    if not names or wide is None:
        return None
    module = onnxla.load(wide)
    known = {k: in_double(v) for k, v in (f.known | others).items()}

    def function(traced: Mapping[str, Any]) -> list[Any]:
        return [y for y in jax.tree.leaves(run_traced(module, known, traced)) if is_floating(y)]

    point, tangent = on_device(start), on_device(direction)
    try:
        with jax.enable_x64(True):
            shapes = jax.eval_shape(function, point)
            cotangent = [np.asarray(rng.uniform(-1, 1, y.shape), y.dtype) for y in shapes]

            # One program for all of it: compiling is what takes time.
            @jax.jit
            def derivatives(point: Mapping[str, Any]) -> Any:
                value, forward = jax.jvp(function, (point,), (tangent,))
                (gradient,) = jax.vjp(function, point)[1](list(map(jnp.asarray, cotangent)))
                return value, forward, gradient

            def along(distance: float) -> Derivatives:
                with jax.enable_x64(True):
                    moved = {k: point[k] + distance * tangent[k] for k in names}
                    value, forward, gradient = derivatives(moved)
                slopes = [gradient[k] for k in names]
                reverse = dot(slopes, [tangent[k] for k in names])
                return value, dot(cotangent, forward), reverse

            found = Differentiable(along, cotangent, along(0.0))
    except onnxla.UnsupportedError:  # says that there is none
        return None
    value = found.start[0]
    return found if value and all(np.isfinite(y).all() for y in value) else None


def in_double(value: Any) -> Any:
    """A floating array in double precision; anything else as it is."""
    if isinstance(value, np.ndarray) and is_floating(value) and value.dtype.itemsize > 1:
        return value.astype(np.float64)
    return value


# Attributes that state an element type, which is then not that of the operands.
STATED = {"to", "dtype", "output_dtype", "softmax_precision", "stash_type", "value_float"}
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


def model_in_double_precision(case: Case) -> bytes | None:
    """The model with its floats in double precision.

    None where an attribute states another type, or the schema has no such operands. (The type
    variables of com.microsoft have no double, but its functions take it.)
    """
    if is_use(case):
        described = schema(case.op_type, case.version, case.domain)
        for formal, value in zip(described.inputs, case.operands, strict=False):
            variable = described.inputs[formal] in described.types
            wide = "tensor(double)" in described.allowed(formal) or (
                case.domain == "com.microsoft" and variable
            )
            if isinstance(value, np.ndarray) and is_floating(value) and not wide:
                return None
    proto = onnx.load_from_string(case.model)
    return proto.SerializeToString() if widen(proto.graph) else None


def widen(graph: onnx.GraphProto) -> bool:
    """Puts floats in double precision, also those of subgraphs; false where that cannot be done."""
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    tensors = [*graph.initializer]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in STATED:
                return False
            if attribute.HasField("g") and not widen(attribute.g):
                return False
            if attribute.HasField("t"):
                tensors.append(attribute.t)
    for tensor in tensors:
        if tensor.data_type in FLOATS:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return True


def dot(a: Sequence[Any], b: Sequence[Any]) -> float:
    """The sum of the products of all elements of arrays."""
    return float(sum(np.vdot(np.asarray(x), np.asarray(y)) for x, y in zip(a, b, strict=True)))


def gradient_equals_finite_differences(case: Case) -> bool:
    """The derivative along a random direction is that of central differences.

    It says nothing where the differences do not settle: near a kink or a jump.
    """
    if (d := differentiable(case)) is None:
        return False

    def at(distance: float) -> float:
        return dot(d.cotangent, d.along(distance)[0])

    value, slope, _ = d.start
    here, slopes = dot(d.cotangent, value), []
    for step in (1e-5, 1e-6):
        ahead, behind = at(step), at(-step)
        slopes += [(ahead - behind) / (2 * step), (ahead - here) / step, (here - behind) / step]
    scale = max(1.0, abs(here), *map(abs, slopes))
    if not np.isfinite(slopes).all() or np.ptp(slopes) > 1e-3 * scale:
        return False
    if not abs(slope - slopes[0]) <= 1e-3 * scale:
        text = f"the derivative is {slope:.6g}, finite differences are {slopes[0]:.6g}"
        raise PropertyViolated(case, text)
    return True


def jvp_agrees_with_vjp(case: Case) -> bool:
    """Forward and reverse mode are transposes of each other."""
    if (d := differentiable(case)) is None:
        return False
    _, forward, reverse = d.start
    if not abs(forward - reverse) <= 1e-6 * max(1.0, abs(forward)):
        raise PropertyViolated(case, f"jvp gives {forward:.9g}, vjp {reverse:.9g}")
    return True


def gradient_is_finite(case: Case) -> bool:
    """At finite inputs with finite outputs no gradient is NaN."""
    if (f := traceable(case)) is None:
        return False
    floats = {k: v for k, v in f.traced.items() if is_floating(v) and v.dtype.itemsize > 1}
    if not floats or not all(np.isfinite(v.astype(np.float64)).all() for v in floats.values()):
        return False
    others = on_device({k: v for k, v in f.traced.items() if k not in floats})

    def gradient(traced: Mapping[str, Any]) -> tuple[list[Any], Any]:
        def function(traced: Mapping[str, Any]) -> list[Any]:
            outputs = jax.tree.leaves(f.function({**others, **traced}))
            return [y for y in outputs if is_floating(y)]

        value, pull = jax.vjp(function, traced)
        return value, pull([jnp.ones_like(y) for y in value])[0]

    try:
        # Without it JAX does not transpose operations in double precision.
        with jax.enable_x64(True):
            value, gradients = jax.jit(gradient)(on_device(floats))
    except onnxla.UnsupportedError:
        return False
    if not value or not all(np.isfinite(np.asarray(y, np.float64)).all() for y in value):
        return False
    for name, slope in gradients.items():
        if np.isnan(np.asarray(slope, np.float64)).any():
            raise PropertyViolated(case, f"the gradient by '{name}' is NaN")
    return True


def save_load_is_identity(case: Case) -> bool:
    """What is read and written, or loaded and saved, is the same message."""
    models = {"read": ir.read(case.model), "loaded": onnxla.load(case.model).to_ir()}
    for how, model in models.items():
        if onnx.load_from_string(ir.write(model)) != case.proto:
            raise PropertyViolated(case, f"what is written is not the model that was {how}")
    return True


def upgrade_keeps_the_answer(case: Case) -> bool:
    """A model that `Module.upgrade` brings to the newest opset computes the same."""
    module = onnxla.load(case.model)
    try:
        upgraded = module.upgrade(NEWEST)
    except onnxla.UnsupportedError:  # what no newer opset has
        return False
    if case.tolerance.random or upgraded.program.model is module.program.model:
        return False
    later = list(upgraded.run(case.inputs).values())
    assert_same(case, later, list(answer(case).values()), f"at opset {NEWEST} the outputs differ")
    if dict(upgraded.roles) != dict(module.roles):
        raise PropertyViolated(case, f"at opset {NEWEST} there are other parameters or roles")
    return True


PROPERTIES: tuple[Property, ...] = (
    jit_equals_eager,
    known_equals_traced,
    vmap_equals_loop,
    gradient_equals_finite_differences,
    jvp_agrees_with_vjp,
    gradient_is_finite,
    infinities_reach_what_depends_on_them,
    save_load_is_identity,
    of_onnxla(outputs_are_as_inferred),
    of_onnxla(converter_keeps_the_answer),
    upgrade_keeps_the_answer,
    of_onnxla(batch_entries_are_independent),
)
"""What `--against properties` checks of onnxla: functions that raise `PropertyViolated`."""


def judge(case: Case, runtime: Runtime | str = "onnxla") -> Outcome:
    """What came of the properties of a case: `agreed`, or which one does not hold.

    Those of onnxla are `PROPERTIES`; those of another runtime are `RUNTIME_PROPERTIES`.
    """
    if runtime_of(runtime).name != "onnxla":
        return judge_by_itself(case, runtime)
    for holds in PROPERTIES:
        try:
            holds(case)
        except PropertyViolated as error:
            return Outcome("disagreed", f"{holds.__name__}: {error.text}")
        except onnxla.UnsupportedError as error:
            return Outcome("unsupported", str(error))
        except Exception as error:
            return Outcome("failed", f"{holds.__name__}: {one_line(error)}")
    return Outcome("agreed")
