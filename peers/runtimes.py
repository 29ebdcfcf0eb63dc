"""The runtimes that there are adapters of, and finding one by its name."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

from onnxla.ir.names import no_such
from onnxla.peers.isolation import Isolated
from onnxla.peers.itself import Onnxla
from onnxla.peers.onnx_runtime import OnnxRuntime
from onnxla.peers.protocol import Runtime
from onnxla.peers.reference import Reference

RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "onnxla": Onnxla,
    "reference": Reference,
    "onnxruntime": OnnxRuntime,
}
# Those that some model takes down, and their process with them.
FRAGILE = frozenset({"onnxruntime"})


def named(name: str) -> Runtime:
    """The runtime of a name: `onnxla`, `reference` or `onnxruntime`.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in RUNTIMES:
        raise ValueError(no_such("runtime", name, RUNTIMES))
    return RUNTIMES[name]()


@functools.cache
def safely_named(name: str) -> Runtime:
    """The runtime of a name, the same one each time, where it may crash in a process of its own.

    Raises:
        ValueError: There is none of that name.
    """
    return Isolated(named(name)) if name in FRAGILE else named(name)


def find_runtime(text: str) -> Runtime:
    """The runtime that a name or MODULE:NAME stands for, as `safely_named` makes it.

    Raises:
        ValueError: There is none.
    """
    module, colon, name = text.partition(":")
    if not colon:
        return safely_named(text)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no runtime is named '{text}': {error}") from error
    made = found() if isinstance(found, type) else found
    if not isinstance(made, Runtime):
        raise ValueError(f"'{text}' is no runtime: it needs `name` and `run(model, inputs)`")
    return made
