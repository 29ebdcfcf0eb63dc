"""tract, a runtime in Rust. Needs the package `tract`."""

from __future__ import annotations

import os
import tempfile
from typing import Any

DTYPES = {"float": "f", "int": "i", "uint": "u", "bool": "bool"}


class Tract:
    """tract on the CPU. It is told the shapes of the inputs before it analyses a model."""

    def __init__(self) -> None:
        import tract

        self.name = "tract"
        self.onnx = tract.onnx()

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            with open(path, "wb") as file:
                file.write(model)
            try:
                loaded = self.onnx.load(path)
                names = [loaded.input_name(i) for i in range(loaded.input_count())]
                for i, name in enumerate(names):
                    loaded.set_input_fact(i, fact(inputs[name]))
                runnable = loaded.into_model().into_runnable()
            except Exception as error:
                if "Unimplemented" in str(error) or "not implemented" in str(error):
                    raise NotImplementedError(str(error)) from error
                raise
        return [output.to_numpy() for output in runnable.run([inputs[name] for name in names])]


def fact(array: Any) -> str:
    """The shape and dtype of an array as tract writes them, such as `2,3,f32`."""
    kind, bits = array.dtype.name.rstrip("0123456789"), 8 * array.dtype.itemsize
    if kind not in DTYPES:
        raise NotImplementedError(f"inputs of dtype {array.dtype}")
    dtype = "bool" if kind == "bool" else f"{DTYPES[kind]}{bits}"
    return ",".join([*map(str, array.shape), dtype])
