"""The runtimes that there are adapters of, and finding one by its name."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnxla.ir.names import no_such
from onnxla.peers.command import CommandRuntime
from onnxla.peers.isolation import Isolated
from onnxla.peers.itself import Onnxla
from onnxla.peers.onnx_runtime import OnnxRuntime
from onnxla.peers.protocol import Runtime
from onnxla.peers.reference import Reference

RUNTIMES: dict[str, Callable[..., Runtime]] = {
    "onnxla": Onnxla,
    "reference": Reference,
    "onnxruntime": OnnxRuntime,
}
# Those that some model takes down, and their process with them.
FRAGILE = frozenset({"onnxruntime"})
# Classes in the files of these names. All of them take their process down at times.
THIRD_PARTY = {
    "iree": "Iree",
    "onnx2tf": "Onnx2Tf",
    "onnx2torch": "Onnx2Torch",
    "openvino": "OpenVino",
    "tinygrad": "Tinygrad",
    "tract": "Tract",
    "tvm": "Tvm",
}
FOLDER = Path(__file__).parent / "third_party"


def named(name: str) -> Runtime:
    """The runtime of a name; one of a third party in a process of its own.

    Raises:
        ValueError: There is none of that name.
    """
    if name in THIRD_PARTY:
        return Isolated(target(name))
    if name not in RUNTIMES:
        raise ValueError(no_such("runtime", name, [*RUNTIMES, *THIRD_PARTY]))
    return RUNTIMES[name]()


@functools.cache
def safely_named(name: str) -> Runtime:
    """The runtime of a name, the same one each time, where it may crash in a process of its own.

    Raises:
        ValueError: There is none of that name.
    """
    return Isolated(named(name)) if name in FRAGILE else named(name)


def find_runtime(
    text: str,
    python: str | None = None,
    timeout: float | None = None,
    memory: int | None = None,
) -> Runtime:
    """The runtime that a text stands for.

    Args:
        text: A name, perhaps with an option, as `onnxruntime:CUDAExecutionProvider`; MODULE:NAME
            or FILE.py:NAME, an object or a class; or a command, as of `CommandRuntime`.
        python: The interpreter of another environment, which has the package of the name, or runs
            the file.
        timeout: Seconds for a case. This, `python` and `memory` ask for a process of its own, which
            names of what may crash, files and commands have anyway.
        memory: How many MiB of addresses the process may have.

    Raises:
        ValueError: There is no such runtime.
    """
    limits: dict[str, Any] = {"memory": memory}
    if timeout is not None:
        limits["timeout"] = timeout
    file = re.search(r"\.py:\w+(:|$)", text)
    if not file and ("{model}" in text or " " in text):
        if python is not None:
            raise ValueError("a command says itself which interpreter runs it")
        return CommandRuntime(text, **limits)
    name, _, option = text.partition(":")
    if file or python is not None or name in THIRD_PARTY:
        return Isolated(target(text), python=python, **limits)
    limited = timeout is not None or memory is not None
    if ":" not in text and not limited:
        return safely_named(text)
    made = imported(text) if option and name not in RUNTIMES else with_option(name, option)
    return Isolated(made, **limits) if limited or name in FRAGILE else made


def target(text: str) -> str:
    """Where another process finds a runtime: FILE.py:NAME, perhaps with an option, or MODULE:NAME.

    Raises:
        ValueError: It is one that runs in this interpreter alone, or there is none.
    """
    name, colon, option = text.partition(":")
    if name in (classes := {**THIRD_PARTY, "onnxruntime": "OnnxRuntimeAlone"}):
        return f"{FOLDER / name}.py:{classes[name]}{colon}{option}"
    if name in RUNTIMES:
        raise ValueError(f"the runtime '{name}' is run by this interpreter, not by another one")
    if not colon:
        raise ValueError(no_such("runtime", name, [*classes]))
    return text


def with_option(name: str, option: str) -> Runtime:
    """The runtime of a name, made with an option, if that is not empty. Raises: ValueError."""
    if not option:
        return named(name)
    if name != "onnxruntime":
        raise ValueError(f"the runtime '{name}' takes no option, and '{option}' is one")
    return OnnxRuntime(provider=option)


def imported(text: str) -> Runtime:
    """The runtime MODULE:NAME. Raises: ValueError if there is none."""
    module, _, name = text.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # a program is started with its own folder instead
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no runtime is named '{text}': {error}") from error
    made = found() if isinstance(found, type) else found
    if not isinstance(made, Runtime):
        raise ValueError(f"'{text}' is no runtime: it needs `name` and `run(model, inputs)`")
    return made
