"""Serves one runtime in a process: models and inputs come in frames, and outputs go back in frames.

Any Python from 3.8 runs this file as a script; it needs numpy there, of version 1 or 2, and nothing
of onnxla. A frame is its length in 8 bytes, then an `.npz` without pickled objects: the arrays by
number, and `tree`, JSON that says what they make up.

Source of the names of narrow dtypes: the package `ml_dtypes`, needed only where such arrays occur.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import pickle
import struct
import sys
import traceback
from typing import Any, BinaryIO

import numpy as np

LENGTH = struct.Struct(">Q")


def pack(value: Any) -> bytes:
    """A frame of a value: arrays, lists, dicts, bytes, texts, numbers and None, in each other.

    Raises:
        TypeError: Something else is in it.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(as_tree(value, arrays)).encode()
    file = io.BytesIO()
    np.savez(file, tree=np.frombuffer(tree, np.uint8), **arrays)  # type: ignore[arg-type]
    return LENGTH.pack(file.tell()) + file.getvalue()


def unpack(data: bytes) -> Any:
    """The value of a frame, given without its length. Tuples have become lists.

    Raises:
        NotImplementedError: An array is of a dtype that this environment lacks.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = dict(file)
    return from_tree(json.loads(arrays.pop("tree").tobytes()), arrays)


def as_tree(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; `arrays` gets what is not."""
    if value is None or (isinstance(value, (str, bool, int, float)) and not is_scalar(value)):
        return value
    if isinstance(value, (list, tuple)):
        return [as_tree(item, arrays) for item in value]
    if isinstance(value, dict):
        return {"map": [[as_tree(k, arrays), as_tree(v, arrays)] for k, v in value.items()]}
    if isinstance(value, bytes):
        return {"bytes": add(np.frombuffer(value, np.uint8), arrays)}
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        texts = [t.decode() if isinstance(t, bytes) else t for t in array.ravel().tolist()]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{type(value).__name__} is no array, sequence, map, text or number")
        return {"texts": texts, "shape": array.shape}
    leaf = {"scalar" if is_scalar(value) else "array": add(as_bits(array), arrays)}
    return {**leaf, "dtype": array.dtype.name} if is_foreign(array.dtype) else leaf


def from_tree(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value that `as_tree` made a tree of."""
    if isinstance(tree, list):
        return [from_tree(item, arrays) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "map" in tree:
        return {from_tree(k, arrays): from_tree(v, arrays) for k, v in tree["map"]}
    if "bytes" in tree:
        return arrays[tree["bytes"]].tobytes()
    if "texts" in tree:
        texts = np.empty(len(tree["texts"]), object)
        texts[:] = tree["texts"]
        return texts.reshape(tree["shape"])
    array = arrays[tree["scalar" if "scalar" in tree else "array"]]
    if "dtype" in tree:
        array = array.view(foreign(tree["dtype"]))
    return array[()] if "scalar" in tree else array


def add(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    """Puts an array among others, and gives its name there."""
    name = str(len(arrays))
    arrays[name] = array
    return name


def is_scalar(value: Any) -> bool:
    """Whether a value is a number of numpy's own, which is no array."""
    return isinstance(value, np.generic)


def is_foreign(dtype: Any) -> bool:
    """Whether a dtype is one of ml_dtypes, which numpy's format does not know."""
    return bool(dtype.kind == "V" or dtype.type.__module__ != "numpy")


def as_bits(array: np.ndarray) -> np.ndarray:
    """An array that numpy's format knows, with the same bits."""
    return array.view("u%d" % array.itemsize) if is_foreign(array.dtype) else array  # noqa: UP031


def foreign(name: str) -> Any:
    """The dtype of ml_dtypes of a name. Raises: NotImplementedError if there is none."""
    try:
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except (ImportError, AttributeError) as error:
        text = f"{name} is not known in this environment: {error}"
        raise NotImplementedError(text) from None


def load_runtime(target: dict[str, Any]) -> Any:
    """The runtime that is asked for.

    Args:
        target: `pickled`, an object, and `main`, what multiprocessing prepares a process with; or
            `module`, a name or a `.py` file, and `name`, an object or a class in it, and perhaps
            `option`, which the class is called with.

    Raises:
        TypeError: What is found is no runtime.
    """
    if "pickled" in target:
        from multiprocessing import spawn

        spawn.prepare(pickle.loads(target["main"]))
        return pickle.loads(target["pickled"])
    module, name = target["module"], target["name"]
    if module.endswith(".py"):
        folder = os.path.dirname(os.path.abspath(module))
        if not os.path.exists(os.path.join(folder, "__init__.py")):
            sys.path.append(folder)  # of what is imported from files beside it
        spec = importlib.util.spec_from_file_location("runtime_under_test", module)
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    else:
        found = importlib.import_module(module)
    made = getattr(found, name)
    option = target.get("option")
    if isinstance(made, type):
        made = made() if option is None else made(option)
    if not isinstance(getattr(made, "name", None), str) or not callable(getattr(made, "run", None)):
        raise TypeError(f"'{name}' is no runtime: it needs `name` and `run(model, inputs)`")
    return made


def answer_of(runtime: Any, data: bytes) -> bytes:
    """The frame that answers one: `outputs`, `not supported` or `failed`, and what goes with it."""
    try:
        method, *arguments = unpack(data)
        if (reason := refusal(runtime, *arguments[:2])) is not None:
            return pack(["not supported", reason])
        return outputs_of(getattr(runtime, method)(*arguments))
    except Exception as error:
        if is_refusal(error):
            return pack(["not supported", str(error) or type(error).__name__])
        return failure(error)


def is_refusal(error: BaseException) -> bool:
    """Whether an error says that the runtime does not implement something, by its class's name."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"NotSupported", "NotImplementedError"})


def refusal(runtime: Any, model: bytes, inputs: Any) -> str | None:
    """Why a runtime says beforehand that it does not take a case; None if it may.

    A runtime may have `supports(model, inputs)`, which returns whether it does, or why not.
    """
    says = getattr(runtime, "supports", None)
    answer = True if says is None else says(model, inputs)
    if isinstance(answer, str):
        return answer or "does not support it"
    return None if answer else "does not support it"


def outputs_of(outputs: Any) -> bytes:
    """The frame of a runtime's outputs."""
    if not isinstance(outputs, (list, tuple)):
        return pack(["failed", f"`run` gives {type(outputs).__name__}, not a list of outputs", ""])
    try:
        return pack(["outputs", outputs])
    except (TypeError, ValueError) as error:
        return pack(["failed", f"an output is none that a case can have: {error}", ""])


def failure(error: BaseException) -> bytes:
    """The frame of an error: its type and what it says, and where it was raised."""
    below = error.__traceback__ and error.__traceback__.tb_next  # without the frame in this file
    trace = "".join(traceback.format_exception(type(error), error, below))
    return pack(["failed", error_text(error), trace])


def error_text(error: BaseException) -> str:
    """An error's type and what it says, if it can say it."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__}, whose text cannot be made"


def version_of(runtime: Any) -> str | None:
    """The version that a runtime says it has, or that of the package of its name, if there is one.

    Both are those of this environment, and not of the one that asks.
    """
    said = getattr(runtime, "version", None)
    if isinstance(said, str):
        return said
    try:
        return importlib.metadata.version(runtime.name)
    except (ValueError, importlib.metadata.PackageNotFoundError):
        return None


def read_frame(file: BinaryIO) -> bytes | None:
    """The next frame without its length, or None at the end."""
    head = file.read(LENGTH.size)
    return file.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def main() -> None:
    """Loads the runtime that the first frame names, and answers until the other end is closed."""
    del sys.path[0]  # the folder of this file
    sys.path.append(os.getcwd())  # in the last place, lest a file there hide one of Python's
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a runtime prints goes to standard error, and none of it among the frames.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        runtime = load_runtime(unpack(read_frame(questions) or b""))
        answer = pack(["ready", runtime.name, hasattr(runtime, "vjp"), version_of(runtime)])
    except (Exception, SystemExit) as error:
        runtime, answer = None, failure(error)
    while True:
        answers.write(answer)
        answers.flush()
        question = read_frame(questions)
        if question is None or runtime is None:
            return
        answer = answer_of(runtime, question)


if __name__ == "__main__":
    main()
