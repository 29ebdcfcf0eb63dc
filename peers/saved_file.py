"""Whether a saved file computes in ONNX Runtime what the module computes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from onnxla import ir
from onnxla.inputs import bind, random_inputs
from onnxla.ir.names import quoted
from onnxla.module import Module, load
from onnxla.ops.values import Value, as_known
from onnxla.peers.difference import Tolerance, difference
from onnxla.peers.onnx_runtime import OnnxRuntime


def check_saved_file(
    module: Any, path: str | os.PathLike[str], inputs: Any, tolerance: float
) -> None:
    """Compares the outputs of a file with those of the module that was saved to it, in inference.

    Args:
        module: The `Module`; compared without `batched`, `astype` and `autocast`, which no file
            holds.
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
    feeds = feed(plain, inputs)
    with in_inference_form(path) if compared is not plain else nullcontext(path) as file:
        try:
            theirs = OnnxRuntime(optimized=True).run_file(file, {**plain.program.fixed, **feeds})
        except ImportError as error:
            raise ImportError(
                "save(check=...) runs the file in ONNX Runtime; install it with the extra 'compare'"
            ) from error
    ours = compared.run(feeds)
    for name, value in zip(compared.output_names, theirs, strict=True):
        found = difference(ours[name], value, Tolerance(scaled=tolerance))
        if not found.ok:
            detail = found.reason or (
                f"differs by {found.absolute:.3g}, its largest value being {found.scale:.3g}"
            )
            raise ir.OnnxlaError(
                f"output {quoted(name)} of the saved file is not the module's: {detail}. Nothing"
                " was replaced. onnxla.compare(module) finds the node where it begins; where values"
                " are rounded, pass a larger tolerance="
            )


@contextmanager
def in_inference_form(path: str | os.PathLike[str]) -> Iterator[str | os.PathLike[str]]:
    """The path of another file with the same model in the form for inference."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "inference.onnx")
        load(path).inference().save(file)
        yield file


def feed(module: Any, inputs: Any) -> dict[str, Value]:
    """Known inputs by name. `inputs`: True for random ones, by name, or in order."""
    if inputs is True:
        return random_inputs(module.program.inputs)
    return {name: as_known(value) for name, value in bind(module.program, inputs).items()}
