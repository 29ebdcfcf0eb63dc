"""Whether a runtime's gradients are those of onnxla in double precision."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax
import ml_dtypes
import numpy as np

import onnxla
from onnxla.ops.values import is_floating
from onnxla.peers.difference import Tolerance, difference
from onnxla.peers.isolation import RuntimeCrashed
from onnxla.peers.protocol import Runtime
from onnxla.peers.runtimes import safely_named
from onnxla.peers.worker import is_refusal
from onnxla.testing.case import Case
from onnxla.testing.outcomes import Outcome, one_line
from onnxla.testing.properties import in_double, model_in_double_precision
from onnxla.testing.traceable import on_device, run_traced, traceable
from onnxla.testing.types import dtype_of, type_string

# A gradient sums more terms, each of them rounded, than the outputs do.
SCALED = 1e-4
ROUNDINGS = 32
OF_OUTPUTS = 4  # roundings of outputs, which are near 1, from which a gradient may be computed

JUDGES = ("gradients",)  # who says what is expected: onnxla in double precision


@runtime_checkable
class DifferentiableRuntime(Protocol):
    """A runtime that also has gradients."""

    name: str

    def vjp(
        self, model: bytes, inputs: Mapping[str, Any], cotangents: Sequence[Any]
    ) -> list[np.ndarray]:
        """The gradients by the floating inputs, in order, of the outputs times their cotangents.

        Args:
            model: An `.onnx` file.
            inputs: Arrays by name.
            cotangents: An array for each output of the graph, None for one that does not float.

        Raises:
            NotSupported: The runtime does not differentiate the model.
        """
        ...


@dataclass(frozen=True)
class Gradients:
    """The gradients of a case.

    Attributes:
        inputs: Where they are taken: the case's, moved a little, so that they are not at kinks or
            ties, in their own dtypes.
        cotangents: The weights of the outputs; None for one that does not float.
        expected: The gradients by the inputs that have one, by name, in double precision.
    """

    inputs: dict[str, Any]
    cotangents: list[np.ndarray | None]
    expected: dict[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        """The floating inputs, in order; one that decides a shape has no expected gradient."""
        return [name for name, value in self.inputs.items() if has_gradient(value)]

    def rounded(self, name: str) -> np.ndarray:
        """The expected gradient by an input, in its dtype."""
        return self.expected[name].astype(self.inputs[name].dtype)

    def tolerance(self, case: Case, name: str) -> Tolerance:
        """What the gradient by an input may differ by."""
        weight = max(np.abs(c).max(initial=0) for c in self.cotangents if c is not None)
        return replace(
            case.tolerance,
            scaled=SCALED,
            roundings=ROUNDINGS,
            # As of 1 - y² near y = 1.
            absolute=OF_OUTPUTS * float(ml_dtypes.finfo(self.inputs[name].dtype).eps) * weight,
            random=False,
        )


def has_gradient(value: Any) -> bool:
    """Whether a gradient by a value is asked for: of floats of 16 bits or more."""
    return isinstance(value, np.ndarray) and is_floating(value) and value.dtype.itemsize > 1


@functools.lru_cache(maxsize=1)
def gradients_of(case: Case) -> Gradients | None:
    """The gradients of a case, or None where it has none that are finite."""
    if (f := traceable(case)) is None or (wide := model_in_double_precision(case)) is None:
        return None
    rng = np.random.default_rng(0)
    names = [name for name, value in f.traced.items() if has_gradient(value)]
    moved = {name: off_kinks(f.traced[name], rng) for name in names}
    inputs = {**case.inputs, **moved}
    module = onnxla.load(wide)
    known = {name: in_double(value) for name, value in inputs.items() if name not in names}
    types = [type_string(output.type) for output in case.proto.graph.output]
    if not names or not all(text.startswith("tensor") for text in types):
        return None

    def function(traced: Mapping[str, Any]) -> list[Any]:
        return [y for y in run_traced(module, known, traced) if is_floating(y)]

    @jax.jit
    def gradient(point: Mapping[str, Any], weights: list[Any]) -> Any:
        value, pull = jax.vjp(function, point)
        return value, pull(weights)[0]

    point = on_device({name: in_double(value) for name, value in moved.items()})
    try:
        with jax.enable_x64(True):
            shapes = iter(jax.eval_shape(function, point))
            dtypes = [dtype_of(text) for text in types]
            cotangents = [
                rng.uniform(-1, 1, next(shapes).shape).astype(dtype) if floats(dtype) else None
                for dtype in dtypes
            ]
            weights = [jax.numpy.asarray(in_double(c)) for c in cotangents if c is not None]
            value, found = gradient(point, weights)
    except onnxla.UnsupportedError:  # says that there is none
        return None
    expected = {name: np.asarray(found[name]) for name in names}
    finite = all(
        np.isfinite(array).all() for array in [*map(np.asarray, value), *expected.values()]
    )
    return Gradients(inputs, cotangents, expected) if value and finite else None


def floats(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of a dtype have a cotangent."""
    return is_floating(np.zeros((), dtype))


def off_kinks(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers near others, towards zero, since many a domain ends at 1 or -1."""
    r = rng.uniform(0.5, 1.0, value.shape)
    x = value.astype(np.float64)
    return np.asarray(np.where(x == 0, 1e-3 * r, x * (1 - 1e-2 * r)).astype(value.dtype))


def compare_gradients(case: Case, runtime: Runtime | str) -> Outcome:
    """Compares a runtime's gradients with those of onnxla in double precision.

    Args:
        case: What to differentiate.
        runtime: The one under test, with a `vjp` as of `DifferentiableRuntime`; or its name.

    Returns:
        `unsupported` where the runtime has no `vjp` or says so; `not judged` where the case has no
        gradient.
    """
    tested = safely_named(runtime) if isinstance(runtime, str) else runtime
    if not isinstance(tested, DifferentiableRuntime):
        return Outcome("unsupported", f"{tested.name} has no `vjp`")
    if (gradients := gradients_of(case)) is None:
        return Outcome("not judged", "no input that is fed has numbers with a finite gradient")
    try:
        got = tested.vjp(case.model, copy.deepcopy(gradients.inputs), gradients.cotangents)
    except (Exception, SystemExit) as error:
        if is_refusal(error):
            return Outcome("unsupported", f"{tested.name}: {one_line(error)}")
        crashed = isinstance(error, RuntimeCrashed)
        text = f"{tested.name}: {one_line(error)}"
        return Outcome("failed", text, judges=JUDGES, crashed=crashed)
    if not isinstance(got, list | tuple):
        text = f"`vjp` gives {type(got).__name__}, not a list of gradients"
        return Outcome("failed", f"{tested.name}: {text}", judges=JUDGES)
    names = gradients.names
    if len(got) != len(names):
        text = f"{len(got)} gradients for {len(names)} floating inputs"
        return Outcome("disagreed", text, judges=JUDGES)
    for name, slope in zip(names, got, strict=True):
        if name in gradients.expected:
            tolerance = gradients.tolerance(case, name)
            if not (found := difference(slope, gradients.rounded(name), tolerance)).ok:
                text = f"the gradient by '{name}': {found}"
                return Outcome("disagreed", text, judges=JUDGES)
    return Outcome("agreed", judges=JUDGES)
