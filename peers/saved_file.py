"""Whether a saved file computes in ONNX Runtime what the module computes."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np

from onnxla import ir
from onnxla.inputs import bind, suitable_inputs
from onnxla.ir.names import quoted
from onnxla.ir.traverse import all_nodes
from onnxla.ir.writer import is_as_read
from onnxla.module import Module, load
from onnxla.ops.limits import Limits
from onnxla.ops.table import lookup
from onnxla.ops.values import Value, as_known
from onnxla.peers.difference import NEARLY_ZERO, Deviation, Tolerance, difference, is_integer
from onnxla.peers.onnx_runtime import OnnxRuntime
from onnxla.peers.protocol import NotSupported

# Ways to run a file, and what a difference means that the first way shows and another does not.
WAYS = (
    (OnnxRuntime(optimized=True), ""),
    (
        OnnxRuntime(),
        "its graph optimizations compute, or round, in other steps, as where they fuse quantized "
        "layers. With SessionOptions.graph_optimization_level = ORT_DISABLE_ALL it agrees",
    ),
    (
        OnnxRuntime(optimized=True, exact=True),
        "this processor has no VNNI, so sums of two products of 8 bits saturate at 16 bits. With "
        "the session's config entry session.x64quantprecision = 1, or on another, it agrees",
    ),
)
DRAWS = 8  # runs in which a random output is the same by chance at most
CALLS = 7  # functions between `Module.save`'s caller and a warning


def check_saved_file(
    module: Any, model: ir.Model, path: str | os.PathLike[str], inputs: Any, tolerance: float
) -> None:
    """Compares the outputs of a file with those of the module that was saved to it, in inference.

    What ONNX Runtime computes of a model that is written as it was read is a warning at most.

    Args:
        module: The `Module`; compared without `batched`, `astype` and `autocast`, which no file
            holds.
        model: What was written of it.
        path: The file.
        inputs: True for random ones, or inputs by name or in order.
        tolerance: Tolerated difference, relative to the largest absolute value of the output.

    Raises:
        OnnxlaError: An output differs by more; the message says which and by how much.
        ImportError: ONNX Runtime is not installed.
    """
    module = module.astype(None)
    plain = Module(module.params, module.program.edited(batched=False, compute_dtype=None))
    compared = plain.inference()
    try:
        limits = plain.program.limits
        with nullcontext(path) if compared is plain else in_inference_form(path, limits) as file:
            problem = find_problem(compared, file, inputs, tolerance)
    except ImportError as error:
        raise ImportError(
            "save(check=...) runs the file in ONNX Runtime; install it with the extra 'compare'"
        ) from error
    except (ir.OnnxlaError, TypeError, ValueError) as error:
        # Random inputs need not suit a model; those of the caller should.
        if not (inputs is True or isinstance(error, NotSupported)) or not is_as_read(model):
            if inputs is True:
                error.add_note(
                    "in save(check=True), with inputs that were drawn: check={'name': array, ...} "
                    "takes inputs that suit the model, check=False none; nothing was saved"
                )
            raise
        text = f"the file is as it was read; it could not be compared with ONNX Runtime: {error}"
        warnings.warn(f"{text}. check={{...}} takes inputs that suit it", stacklevel=CALLS - 1)
        return
    if problem and is_as_read(model):
        warnings.warn(
            f"{problem}. The file is as it was read, so this is how ONNX Runtime runs it, as where "
            "products of 8 bits saturate or a kernel is wrong; onnxla.compare(module) finds the "
            "node where it begins",
            stacklevel=CALLS - 1,
        )
    elif problem:
        raise ir.OnnxlaError(
            f"{problem}. Nothing was replaced. onnxla.compare(module) finds the node where it "
            "begins; where values are rounded, pass a larger tolerance="
        )


def find_problem(module: Any, path: str | os.PathLike[str], inputs: Any, tolerance: float) -> str:
    """How the outputs of a file differ in ONNX Runtime from the module's, however it is run, or "".

    Warns of a difference that one way to run it has, and another has not.
    """
    feeds = feed(module, inputs)
    key = jax.random.key(0) if draws(module.program.model) else None
    ours, fixed = module.run(feeds, key), module.program.fixed
    random: set[str] = set()
    problem = ""
    for runtime, meaning in WAYS:
        theirs = runtime.run_file(path, {**fixed, **feeds})
        found = largest(ours, theirs, tolerance, random)
        if found and key is not None and not random:
            random = varying(ours, [module.run(feeds, jax.random.key(i)) for i in range(1, DRAWS)])
            found = largest(ours, theirs, tolerance, random)
        if not found:
            if problem:
                warnings.warn(f"{problem}: {meaning}", stacklevel=CALLS)
            return ""
        problem = problem or found
    return problem


def largest(
    ours: Mapping[str, Any], theirs: Sequence[Any], tolerance: float, random: set[str]
) -> str:
    """Which output differs most, relative to its size, and by how much; "" if none does."""
    found: list[tuple[float, str, Deviation]] = []
    for (name, value), other in zip(ours.items(), theirs, strict=True):
        deviation = difference(value, other, allowance(value, tolerance, name in random))
        if not deviation.ok:
            found.append((deviation.absolute / (deviation.scale or 1.0), name, deviation))
    if not found:
        return ""
    _, name, worst = max(found, key=lambda each: each[0])
    detail = worst.reason or (
        f"differs by {worst.absolute:.3g}, its largest value being {worst.scale:.3g}"
    )
    return f"output {quoted(name)} of the saved file is not the module's in ONNX Runtime: {detail}"


def allowance(value: Any, tolerance: float, random: bool) -> Tolerance:
    """What an output may differ by; one that is quantized by a step, as a rounding may make."""
    steps, dtype = None, getattr(value, "dtype", np.dtype(object))
    if is_integer(dtype) and dtype.itemsize == 1:
        steps = max(1, int(tolerance * np.abs(np.asarray(value, int)).max(initial=0)))
    absolute = tolerance * NEARLY_ZERO
    return Tolerance(scaled=tolerance, absolute=absolute, steps=steps, random=random)


def draws(model: ir.Model) -> bool:
    """Whether a model has an operator that draws random numbers, or may."""
    nodes = all_nodes(model)
    found = (lookup(n.domain, n.op_type, opsets.get(n.domain, 1)) for n, opsets in nodes)
    return any(operator is not None and "key" in operator.reserved for operator in found)


def varying(ours: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> set[str]:
    """The outputs that are not the same in other runs."""
    runs = (run.items() for run in others)
    return {
        name
        for run in runs
        for name, value in run
        if not difference(value, ours[name], Tolerance()).ok
    }


@contextmanager
def in_inference_form(path: str | os.PathLike[str], limits: Limits) -> Iterator[Path]:
    """The path of another file with the same model in the form for inference."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "inference.onnx")
        load(path, limits=limits).inference().save(file)
        yield file


def feed(module: Any, inputs: Any) -> dict[str, Value]:
    """Known inputs by name. `inputs`: True for random ones, by name, or in order."""
    if inputs is True:
        return suitable_inputs(module.program)
    return {name: as_known(value) for name, value in bind(module.program, inputs).items()}
