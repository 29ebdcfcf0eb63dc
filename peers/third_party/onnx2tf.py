"""TensorFlow by onnx2tf. Needs `onnx2tf` and what it imports, among others `tensorflow`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import re
import tempfile
from typing import Any

# How it says that it does not implement something, or wants to download pictures to try it on.
REFUSALS = ("not yet implemented", "not implemented", "unsupported", "not supported", "connection")
MOVED = (3, 4, 5)  # ranks of what has channels, whose axis TensorFlow has last


class Onnx2Tf:
    """A model as one of Keras, which onnx2tf makes of it.

    It may put the channels of an output last, and does not say of which: the shape that ONNX infers
    tells it. Where both would have this shape, an output cannot be compared.
    """

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import onnx2tf
        import tensorflow

        self.tensor = tensorflow.convert_to_tensor
        self.name = "onnx2tf"
        self.version = importlib.metadata.version("onnx2tf")
        self.convert = onnx2tf.convert

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        if not inputs:
            raise NotImplementedError("a model without inputs")
        for value in inputs.values():
            if getattr(value, "dtype", None) is None or value.dtype.kind not in "fiub":
                raise NotImplementedError(f"inputs of {getattr(value, 'dtype', type(value))}")
        proto = fixed(model, inputs)
        shapes = [shape_of(value) for value in proto.graph.output]
        said = io.StringIO()
        try:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
                made = self.convert(
                    onnx_graph=proto,
                    output_folder_path=folder,
                    keep_ncw_or_nchw_or_ncdhw_input_names=[
                        name for name, value in inputs.items() if value.ndim in MOVED
                    ],
                    non_verbose=True,
                )
        except (Exception, SystemExit) as error:
            text = re.sub(r"\x1b\[\d*m", "", f"{error}\n{said.getvalue()}").strip()
            if any(words in text.lower() for words in REFUSALS):
                raise NotImplementedError(text) from error
            raise RuntimeError(text) from error
        outputs = made([self.tensor(inputs[value.name]) for value in proto.graph.input])
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [as_in_onnx(y.numpy(), shape) for y, shape in zip(outputs, shapes)]


def fixed(model: bytes, inputs: dict[str, Any]) -> Any:
    """A model with the shapes of some inputs, and what follows of them."""
    import onnx

    proto = onnx.load_from_string(model)
    for value in proto.graph.input:
        kind = value.type.tensor_type.elem_type
        made = onnx.helper.make_tensor_value_info(value.name, kind, inputs[value.name].shape)
        value.CopyFrom(made)
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an output. Raises: NotImplementedError if it is not known beforehand."""
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        raise NotImplementedError(f"the shape of '{value.name}' is not known beforehand")
    return tuple(dim.dim_value for dim in kind.shape.dim)


def as_in_onnx(array: Any, shape: tuple[int, ...]) -> Any:
    """An output with its axes as ONNX has them.

    Raises:
        NotImplementedError: They could be in either order.
    """
    if array.ndim not in MOVED or array.ndim != len(shape):
        return array
    back = array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))
    if array.shape != shape:
        return back if back.shape == shape else array
    if back.shape == shape and sum(n > 1 for n in shape[1:]) > 1:
        raise NotImplementedError(f"of the shape {list(shape)} the axes could be in either order")
    return array
