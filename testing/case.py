"""A case: a model, its inputs, and how exactly two runtimes must agree on its outputs."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from onnxla.ir import STRING
from onnxla.peers.difference import Tolerance
from onnxla.testing.script import script
from onnxla.testing.types import dtype_of, type_string

# Nearly the same, a few roundings aside.
CLOSE = Tolerance(scaled=1e-5, roundings=4, steps=0)


@dataclass(frozen=True, eq=False)
class Case:
    """One use of an operator, or a small graph, with its inputs.

    For example:

        case = onnxla.testing.example("Neg", 13, x)
        case.save("Neg-13")
        assert onnxla.testing.Case.load("Neg-13.onnx").op_type == "Neg"

    Attributes:
        model: The `.onnx` file.
        inputs: By name: arrays, lists of arrays for sequences, dicts for maps, None for an
            optional without a value.
        tolerance: What the outputs of two runtimes may differ by.
        batch: Names of the inputs whose first axis is a batch, where entries are independent.
    """

    model: bytes
    inputs: Mapping[str, Any]
    tolerance: Tolerance = CLOSE
    batch: tuple[str, ...] = ()

    @functools.cached_property
    def proto(self) -> onnx.ModelProto:
        """The model as protobuf."""
        return onnx.load_from_string(self.model)

    @property
    def node(self) -> onnx.NodeProto:
        """The model's last node: the only one, unless it is a graph."""
        return self.proto.graph.node[-1]

    @property
    def op_type(self) -> str:
        """The operator's name."""
        return self.node.op_type

    @property
    def domain(self) -> str:
        """The operator's domain."""
        return self.node.domain

    @property
    def version(self) -> int:
        """The opset version of the operator's domain."""
        opsets = {opset.domain: opset.version for opset in self.proto.opset_import}
        return opsets.get(self.domain, opsets.get("ai.onnx", 1) if self.domain == "" else 1)

    @functools.cached_property
    def attributes(self) -> dict[str, Any]:
        """The node's attributes as Python values; texts are `str`."""
        found = {a.name: helper.get_attribute_value(a) for a in self.node.attribute}
        return {name: decoded(value) for name, value in found.items()}

    @functools.cached_property
    def operands(self) -> list[Any]:
        """The node's inputs in order, whether fed or stored in the model; None where absent."""
        stored = {t.name: onnx.numpy_helper.to_array(t) for t in self.proto.graph.initializer}
        return [{**stored, **self.inputs}.get(name) for name in self.node.input]

    def __repr__(self) -> str:
        nodes = self.proto.graph.node
        name = f"{self.domain or 'ai.onnx'}.{self.op_type}-{self.version}"
        if len(nodes) > 1:
            name = f"graph of {len(nodes)} nodes"
        parts = [name]
        if len(nodes) == 1:
            parts += [f"{k}={shortened(v)}" for k, v in self.attributes.items()]
            parts += [
                f"{n}={shortened(v)}"
                for n, v in zip(self.node.input, self.operands, strict=True)
                if n
            ]
        else:
            parts += [f"{k}={shortened(v)}" for k, v in self.inputs.items()]
        return f"Case({', '.join(parts)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How Hypothesis and IPython print a case."""
        printer.text(repr(self))

    def script(self, expected: Sequence[Any] | None = None, source: str = "") -> str:
        """A Python script that builds the model and its inputs with `onnx` and numpy alone.

        Args:
            expected: Outputs that a runtime should give, which the script compares with what it
                gives, within the case's tolerance.
            source: Who says so.
        """
        return script(self.proto, self.inputs, expected, self.tolerance, source)

    @functools.cached_property
    def digest(self) -> bytes:
        """A hash of the model and its inputs."""
        return hashlib.sha256(self.to_bytes()).digest()

    def to_bytes(self, with_model: bool = True) -> bytes:
        """The case as a `.npz` file, the model in `:model`; no entry is a pickle."""
        arrays: dict[str, np.ndarray] = {}
        for name, value in self.inputs.items():
            flatten(name, value, arrays)
        arrays[":tolerance"] = np.array(json.dumps(vars(self.tolerance)))
        arrays[":batch"] = np.array(self.batch, str)
        if with_model:
            arrays[":model"] = np.frombuffer(self.model, np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, model: bytes | None = None) -> Case:
        """Reads what `to_bytes` made.

        Raises:
            ValueError: The inputs are not those of the model.
        """
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        model = bytes(arrays.pop(":model")) if model is None else model
        types = {value.name: value.type for value in onnx.load_from_string(model).graph.input}
        batch = tuple(arrays.pop(":batch").tolist())
        settings = {n[1:]: arrays.pop(n).item() for n in list(arrays) if n.startswith(":")}
        if "tolerance" in settings:
            tolerance = Tolerance(**json.loads(settings["tolerance"]))
        else:  # as version 0.1.0 wrote it
            scaled, absolute = settings.pop("rtol"), settings.pop("atol", 0.0)
            tolerance = replace(CLOSE, scaled=scaled, absolute=absolute, **settings)
        inputs: dict[str, Any] = {}
        for key, value in arrays.items():
            name = re.split(r"[\[{]", key)[0]
            if name not in types:
                raise ValueError(f"the model has no input '{name}'")
            restore(inputs, key, value, types[name])
        return cls(model, inputs, tolerance, batch)

    def save(self, path: str | Path) -> Path:
        """Writes the model to `path` and the inputs beside it, as `.npz`.

        Args:
            path: Where the model goes, with or without `.onnx`.

        Returns:
            The model's path. Folders are made as needed.
        """
        path, beside = files_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.model)
        beside.write_bytes(self.to_bytes(with_model=False))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Case:
        """Reads what `save` wrote.

        Raises:
            OSError: One of the two files cannot be read.
            ValueError: The inputs are not those of the model.
        """
        path, beside = files_of(path)
        try:
            return cls.from_bytes(beside.read_bytes(), path.read_bytes())
        except ValueError as error:
            raise ValueError(f"'{path}': {error}") from error


def files_of(path: str | Path) -> tuple[Path, Path]:
    """Where a case's model is, and where its inputs are."""
    name = str(path).removesuffix(".onnx")  # the rest may have dots
    return Path(f"{name}.onnx"), Path(f"{name}.npz")


def decoded(value: Any) -> Any:
    """A value in which bytes are texts."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def shortened(value: Any) -> str:
    """A value in one line: a small array with its numbers, a large one by dtype and shape."""
    if isinstance(value, np.ndarray):
        head = f"{'string' if value.dtype == STRING else value.dtype}{list(value.shape)}"
        return f"{head}:{value.tolist()}" if 0 < value.size <= 8 else head
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        return f"[{', '.join(map(shortened, value))}]"
    if isinstance(value, onnx.TensorProto):
        return shortened(onnx.numpy_helper.to_array(value))
    if isinstance(value, onnx.GraphProto):
        return f"graph({', '.join(node.op_type for node in value.node)})"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def flatten(name: str, value: Any, arrays: dict[str, np.ndarray]) -> None:
    """Adds a value's arrays: `x`; `x[0]`, `x[1]` of a sequence; `x{keys}`, `x{values}` of a map.

    `x[]` tells an empty sequence from an optional without a value, which is `x[none]`.
    """
    if value is None:
        arrays[f"{name}[none]"] = np.zeros(0)
    elif isinstance(value, list):
        arrays[f"{name}[]"] = np.array(len(value))
        for index, item in enumerate(value):
            flatten(f"{name}[{index}]", item, arrays)
    elif isinstance(value, dict):
        arrays[f"{name}{{keys}}"] = np.array([*value])
        arrays[f"{name}{{values}}"] = np.array([*value.values()])
    else:
        value = np.asarray(value)
        if value.dtype == STRING:
            value = value.astype(str)
        # numpy's format knows no types but its own.
        arrays[name] = value.view(f"u{value.itemsize}") if is_foreign(value.dtype) else value


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is one of ml_dtypes."""
    return dtype.kind == "V" or dtype.type.__module__ != "numpy"


def restore(inputs: dict[str, Any], key: str, value: np.ndarray, kind: onnx.TypeProto) -> None:
    """Puts one array of `flatten` back where it belongs."""
    name = re.split(r"[\[{]", key)[0]
    dtype = dtype_of(type_string(kind)) if "{" not in key else value.dtype
    if dtype == STRING:
        value = value.astype(object)
    elif is_foreign(dtype):
        value = value.view(dtype)
    if key == name:
        inputs[name] = value
    elif key.endswith("[none]"):
        inputs[name] = None
    elif key.endswith("[]"):
        inputs[name] = [None] * int(value)
    elif key.endswith("{keys}"):
        inputs[name] = dict.fromkeys(value.tolist())
    elif key.endswith("{values}"):
        inputs[name] = dict(zip(inputs[name], value.tolist(), strict=True))
    else:
        inputs[name][int(key[len(name) + 1 : -1])] = value
