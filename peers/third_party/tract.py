"""tract, a runtime in Rust. Needs the package `tract`."""

from __future__ import annotations

import os
import tempfile
from typing import Any

# How it says that it does not implement something.
REFUSALS = (
    "Unimplemented",
    "not implemented",
    "Unknown DatumType",
    "not supported",
    "does not support",
    "Unsupported",
)
DTYPES = {"float": "f", "int": "i", "uint": "u", "bool": "bool"}


class Tract:
    """tract on the CPU. It is told the shapes of the inputs before it analyses a model."""

    def __init__(self) -> None:
        import tract

        self.name = "tract"
        self.onnx = tract.onnx()

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        facts = {name: fact(array) for name, array in inputs.items()}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            with open(path, "wb") as file:
                file.write(model)
            try:
                loaded = self.onnx.load(path)
                names = [loaded.input_name(i) for i in range(loaded.input_count())]
                for i, name in enumerate(names):
                    loaded.set_input_fact(i, facts[name])
                runnable = loaded.into_model().into_runnable()
                outputs = runnable.run([inputs[name] for name in names])
            except Exception as error:
                if any(words in str(error) for words in REFUSALS):
                    raise NotImplementedError(str(error)) from error
                raise
        return [output.to_numpy() for output in outputs]


def fact(array: Any) -> str:
    """The shape and dtype of an array as tract writes them, such as `2,3,f32`."""
    if not hasattr(array, "dtype"):
        raise NotImplementedError(f"inputs of type {type(array).__name__}")
    kind, bits = array.dtype.name.rstrip("0123456789"), 8 * array.dtype.itemsize
    if kind not in DTYPES:
        raise NotImplementedError(f"inputs of dtype {array.dtype}")
    dtype = "bool" if kind == "bool" else f"{DTYPES[kind]}{bits}"
    return ",".join([*map(str, array.shape), dtype])
