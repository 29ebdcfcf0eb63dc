"""A program of any language as a runtime: files go in, files come out."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxla.ir.dtypes import STRING
from onnxla.peers.isolation import RuntimeCrashed
from onnxla.peers.limited_process import LimitedProcess
from onnxla.peers.protocol import NotSupported, RuntimeFailed
from onnxla.peers.worker import is_foreign

UNSUPPORTED = 3  # the exit code of a program that does not implement a model
PLACES = ("{model}", "{inputs}", "{outputs}")


class CommandRuntime:
    """A program that reads a model and its inputs from files, and writes its outputs to files.

    It is run once for each case, with paths in place of `{model}`, a file, `{inputs}` and
    `{outputs}`, folders. Input `i` is `input_i.pb`: a TensorProto, or a SequenceProto, MapProto or
    OptionalProto, with its name; and `input_i.npy` if numpy has its dtype. `names.json` has the
    names. Output `i` of the graph is read from `output_i.npy` or `output_i.pb`. Exit code 0 says
    that all is well, 3 that the program does not implement the model.

    For example:

        runtime = onnxla.testing.CommandRuntime("sh run.sh {model} {inputs} {outputs}")

    Args:
        command: The program and its arguments, as a shell splits them into words.
        timeout: Seconds after which a case is given up.
        memory: How many MiB of addresses it may have, where the system limits them.

    Raises:
        ValueError: A place is not in the command, or there is no such program.
    """

    def __init__(self, command: str, timeout: float = 60.0, memory: int | None = None) -> None:
        self.words = shlex.split(command)
        self.timeout = timeout
        self.memory = memory
        if missing := [place for place in PLACES if place not in command]:
            text = f"it has no {', '.join(missing)}, in place of which paths are put"
            raise ValueError(f"the command '{command}' is no runtime: {text}")
        if shutil.which(self.words[0]) is None:
            raise ValueError(f"there is no program '{self.words[0]}' that can be started")
        rest = [word for word in self.words[1:] if not any(place in word for place in PLACES)]
        self.name = " ".join([Path(self.words[0]).name, *rest])

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order.

        Raises:
            NotSupported: The program ended with code 3.
            RuntimeFailed: It ended with another code, or an output is not there.
            RuntimeCrashed: A signal ended it, or it did not end in time.
        """
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            types = write_case(root, model, inputs)
            words = [filled(word, root) for word in self.words]
            process = LimitedProcess(words, self.memory, stdin=subprocess.DEVNULL)
            try:
                self._wait(process)
                return [
                    read_output(root / "outputs" / f"output_{i}", kind, process.told())
                    for i, kind in enumerate(types)
                ]
            finally:
                process.kill()

    def _wait(self, process: LimitedProcess) -> None:
        """Waits for the program, and raises what its end says."""
        try:
            code = process.process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            text = f"{self.name} did not end in {self.timeout:g} s{process.told()}"
            raise RuntimeCrashed(text) from None
        if code < 0:
            raise RuntimeCrashed(f"{self.name} crashed: {process.how_it_ended()}{process.told()}")
        if code == UNSUPPORTED:
            raise NotSupported(f"exit code {code}{process.told()}")
        if code:
            raise RuntimeFailed(f"{process.how_it_ended()}{process.told()}")


def filled(word: str, root: Path) -> str:
    """A word of a command with paths in their places."""
    for place, name in zip(PLACES, ("model.onnx", "inputs", "outputs"), strict=True):
        word = word.replace(place, str(root / name))
    return word


def write_case(root: Path, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
    """Writes the files that a program reads.

    Returns:
        The types of the outputs, as protobuf messages.
    """
    import onnx

    graph = onnx.load_from_string(model).graph
    types = {value.name: value.type for value in graph.input}
    (root / "model.onnx").write_bytes(model)
    for name in ("inputs", "outputs"):
        (root / name).mkdir()
    entries = []
    for i, (name, value) in enumerate(inputs.items()):
        stem = root / "inputs" / f"input_{i}"
        message = as_message(value, types[name])
        message.name = name
        stem.with_suffix(".pb").write_bytes(message.SerializeToString())
        entry = {"name": name, "type": kind_of_type(types[name])}
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value, order="C")
            entry["dtype"] = "string" if array.dtype == STRING else array.dtype.name
            if array.dtype != STRING and not is_foreign(array.dtype):
                np.save(stem.with_suffix(".npy"), array)
        entries.append(entry)
    names = {"inputs": entries, "outputs": [value.name for value in graph.output]}
    (root / "inputs" / "names.json").write_text(json.dumps(names, indent=1))
    return [value.type for value in graph.output]


def kind_of_type(kind: Any) -> str:
    """`tensor`, `sequence`, `map` or `optional`."""
    return str(kind.WhichOneof("value")).removesuffix("_type")


def as_message(value: Any, kind: Any) -> Any:
    """The message of a value of a type: of a tensor, a sequence, a map or an optional."""
    import onnx
    from onnx import helper, numpy_helper

    name = kind_of_type(kind)
    if name == "tensor":
        return numpy_helper.from_array(np.asarray(value))
    if name == "map":
        keys, inner = kind.map_type.key_type, kind.map_type.value_type
        dtype = helper.tensor_dtype_to_np_dtype(inner.tensor_type.elem_type)
        tensors = [numpy_helper.from_array(np.asarray(item, dtype)) for item in value.values()]
        values = onnx.SequenceProto(elem_type=onnx.SequenceProto.TENSOR, tensor_values=tensors)
        message = onnx.MapProto(key_type=keys, values=values)
        if keys == onnx.TensorProto.STRING:
            message.string_keys.extend(key.encode() for key in value)
        else:
            message.keys.extend(value)
        return message
    held, inner = held_by(kind)
    if name == "sequence":
        sequence = onnx.SequenceProto(elem_type=onnx.SequenceProto.DataType.Value(held.upper()))
        getattr(sequence, f"{held}_values").extend(as_message(item, inner) for item in value)
        return sequence
    optional = onnx.OptionalProto()
    if value is not None:
        optional.elem_type = onnx.OptionalProto.DataType.Value(held.upper())
        getattr(optional, f"{held}_value").CopyFrom(as_message(value, inner))
    return optional


def held_by(kind: Any) -> tuple[str, Any]:
    """What a sequence or an optional of a type holds: its kind, and its type."""
    inner = getattr(kind, f"{kind_of_type(kind)}_type").elem_type
    return kind_of_type(inner), inner


def read_message(data: bytes, kind: Any) -> Any:
    """The value of a file. Raises: an error of protobuf's or onnx's if it is none of the type."""
    import onnx

    messages: dict[str, Any] = {
        "tensor": onnx.TensorProto,
        "sequence": onnx.SequenceProto,
        "map": onnx.MapProto,
        "optional": onnx.OptionalProto,
    }
    return value_of(messages[kind_of_type(kind)].FromString(data), kind)


def value_of(message: Any, kind: Any) -> Any:
    """The value that `as_message` made a message of."""
    from onnx import numpy_helper

    name = kind_of_type(kind)
    if name == "tensor":
        return numpy_helper.to_array(message)
    if name == "map":
        keys = [key.decode() for key in message.string_keys] or message.keys
        values = (numpy_helper.to_array(tensor).item() for tensor in message.values.tensor_values)
        return dict(zip(keys, values, strict=True))
    held, inner = held_by(kind)
    if name == "sequence":
        return [value_of(item, inner) for item in getattr(message, f"{held}_values")]
    field = f"{held}_value"
    return value_of(getattr(message, field), inner) if message.HasField(field) else None


def read_output(stem: Path, kind: Any, told: str) -> Any:
    """An output of a type that a program wrote.

    Raises:
        RuntimeFailed: It did not write it, or wrote something else.
    """
    array, file = stem.with_suffix(".npy"), stem.with_suffix(".pb")
    try:
        if array.is_file():
            with array.open("rb") as opened:
                return np.lib.format.read_array(opened, allow_pickle=False)
        if file.is_file():  # and no pipe or device, which might never end
            return read_message(file.read_bytes(), kind)
        text = f"there is no {file.name} or {array.name}"
    except Exception as error:  # whatever wrong bytes make of a reader
        text = f"{stem.name} cannot be read: {type(error).__name__}: {error}"
    raise RuntimeFailed(f"{text}{told}")
