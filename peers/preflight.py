"""Whether a runtime answers at all, before it is tested."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from onnxla.peers.isolation import RuntimeCrashed, RuntimeNotStarted
from onnxla.peers.protocol import NotSupported, Runtime

TASK = "a model that adds two arrays"


def preflight(runtime: Runtime) -> None:
    """Runs a trivial model, so that a broken adapter is no finding about the runtime.

    A runtime that says that it does not implement it, or adds wrongly, passes: telling that is
    what tests are for.

    Args:
        runtime: What will be tested.

    Raises:
        ValueError: It does not start, fails, crashes, or gives no list of an array of the dtype and
            shape that are due. A note has the traceback, if there is one.
    """
    x = np.array([1, 2], np.float32)
    try:
        outputs = runtime.run(addition(), {"x": x, "y": x})
    except NotSupported:
        return
    except (Exception, SystemExit) as error:
        raise refused(runtime.name, error) from error
    got = kind_of_outputs(outputs)
    if got != (due := kind_of_outputs([x])):
        text = f"of {TASK} it gives {got}, not {due}"
        raise ValueError(f"the adapter '{runtime.name}' is broken: {text}")


def refused(name: str, error: BaseException) -> ValueError:
    """What an error on the trivial model says."""
    if missing := re.search(r"No module named '([\w.]+)'", str(error)):
        text = f"the runtime '{name}' needs '{missing[1]}', which is not installed: {error}"
    elif isinstance(error, RuntimeNotStarted):
        text = f"the adapter is broken: {error}"
    elif isinstance(error, RuntimeCrashed):
        text = f"the runtime is broken, even for {TASK}: {error}"
    else:
        text = f"the adapter '{name}', or what it needs, is broken: it fails for {TASK}: {error}"
    raised = ValueError(text)
    for note in getattr(error, "__notes__", ()):
        raised.add_note(note)
    return raised


def kind_of_outputs(outputs: Any) -> str:
    """What somebody takes for outputs, in words."""
    if not isinstance(outputs, list | tuple):
        return type(outputs).__name__
    kinds = (
        f"{each.dtype}{list(each.shape)}"
        if hasattr(each, "dtype") and hasattr(each, "shape")  # of numpy, or as JAX's
        else type(each).__name__
        for each in outputs
    )
    return f"a list of [{', '.join(kinds)}]"


def addition() -> bytes:
    """A model that adds two arrays."""
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xyz"]
    node = helper.make_node("Add", ["x", "y"], ["z"])
    graph = helper.make_graph([node], "addition", values[:2], values[2:])
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=7).SerializeToString()
