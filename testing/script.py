"""A case as a Python script that needs `onnx` and numpy alone."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from onnxla.ir.dtypes import STRING, dtype_of
from onnxla.peers.difference import Tolerance, allowed, gaps, is_integer

HEAD = "def same(got, want, limit):"
# Parts of the script. What is copied there must not need onnxla.
NO_ARRAYS = """
    if isinstance(want, list):
        return len(got) == len(want) and all(map(same, got, want, limit))
    if isinstance(want, dict):
        return got.keys() == want.keys() and all(same(got[k], want[k], limit) for k in want)
    if want is None or got is None:
        return got is want
"""
RUN = """

def run(model, inputs):
    # >>> Put the call of your runtime here. The reference evaluator stands in for it.
    return ReferenceEvaluator(model).run(None, inputs)
"""
DIFFERENCES = """

def run(model, inputs):
    # >>> Put the gradients of your runtime here, and remove the next line. Central differences of
    # the reference evaluator stand in for them: so rough are they, of the largest gradient.
    global rough; rough = 4 * max(relative_step(inputs[name]) for name, _, _ in expected)
    return [difference_by(name) for name, _, _ in expected]


def relative_step(x):
    return float(np.cbrt(np.spacing(np.ones((), x.dtype)).astype(float)))


def difference_by(name):
    x, slopes = inputs[name], np.zeros(inputs[name].shape)
    for at in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[at] += x.dtype.type(sign * relative_step(x) * max(1, abs(float(x[at]))))
            outputs = ReferenceEvaluator(model).run(None, {**inputs, name: moved})
            pairs = [(y, c) for y, c in zip(outputs, cotangents) if c is not None]
            ends.append((sum(np.vdot(c.astype(float), y.astype(float)) for y, c in pairs), moved))
        (after, high), (before, low) = ends
        slopes[at] = (after - before) / (float(high[at]) - float(low[at]))
    return slopes.astype(x.dtype)


rough = 0
"""
COMPARISON = """

def same(got, want, limit):
    got, want = np.asarray(got), np.asarray(want)
    texts = got.dtype.kind in "OUS" and want.dtype.kind in "OUS"
    if got.shape != want.shape or (got.dtype != want.dtype and not texts):
        return False
    close = (got == want) | (got != got) & (want != want)  # NaN is NaN
    if np.any(limit):
        wide = complex if want.dtype.kind == "c" else float
        with np.errstate(all="ignore"):
            close |= np.abs(got.astype(wide) - want.astype(wide)) <= limit
    return bool(np.all(close))


for name, want, _ in expected:
    print(name, "expected", repr(want))
results = run(model, inputs)
assert len(results) == len(expected), f"{len(results)} outputs"
for (name, want, limit), got in zip(expected, results):
    print(name, "got     ", repr(got), "as expected" if same(got, want, limit) else "WRONG")
"""


def script(
    model: onnx.ModelProto,
    inputs: Mapping[str, Any],
    expected: Sequence[Any] | None = None,
    tolerance: Tolerance | None = None,
    source: str = "",
) -> str:
    """A script that builds the model and its inputs, and runs the reference evaluator.

    Args:
        model: The model.
        inputs: By name.
        expected: Outputs that another runtime should give. Then the script has a place for that
            runtime, and says whether its outputs are the ones expected.
        tolerance: What they may differ by; by default nothing.
        source: Who says what is expected.
    """
    if expected is None:
        return written(model, inputs, [], "print(ReferenceEvaluator(model).run(None, inputs))\n")
    names = [value.name for value in model.graph.output]
    values = [as_arrays(value) for value in expected]
    allowance = tolerance or Tolerance()
    rows = [
        (name, value, limit_of(value, allowance)) for name, value in zip(names, values, strict=True)
    ]
    last = RUN + COMPARISON
    if any(value is None or isinstance(value, list | dict) for value in values):
        last = last.replace(HEAD, HEAD + NO_ARRAYS.rstrip())
    return written(model, inputs, expected_lines(rows, source), last)


def gradient_script(
    model: onnx.ModelProto,
    inputs: Mapping[str, Any],
    cotangents: Sequence[Any],
    expected: Mapping[str, tuple[np.ndarray, Tolerance]],
    source: str,
) -> str:
    """A script that builds the model, and compares gradients with those that are expected.

    Args:
        model: The model.
        inputs: By name.
        cotangents: An array for each output, None for one that does not float.
        expected: The gradients, and what they may differ by, by input.
        source: Who says so.
    """
    rows = [(name, x, limit_of(x, tolerance)) for name, (x, tolerance) in expected.items()]
    lines = [f"cotangents = {literal([*cotangents])}", *expected_lines(rows, source)]
    wider = "limit + rough * np.max(np.abs(want), initial=0)) else"
    return written(model, inputs, lines, DIFFERENCES + COMPARISON.replace("limit) else", wider))


def written(
    model: onnx.ModelProto, inputs: Mapping[str, Any], further: Sequence[str], last: str
) -> str:
    """A script: imports, the model, its inputs, further lines, and what is done with them."""
    graph = model.graph
    readable = len(graph.node) == 1 and all(
        a.type not in (a.GRAPH, a.GRAPHS, a.SPARSE_TENSOR, a.TYPE_PROTO)
        for a in graph.node[0].attribute
    )
    lines = ["import numpy as np", "import onnx", "from numpy import inf, nan"]
    body = model_lines(model) if readable else bytes_lines(model)
    body += [f"inputs = {{{', '.join(f'{k!r}: {literal(v)}' for k, v in inputs.items())}}}"]
    body += further
    if any("ml_dtypes." in line for line in body):
        lines.append("import ml_dtypes")
    return "\n".join(
        [
            *lines,
            "from onnx import TensorProto, helper, numpy_helper",
            "from onnx.reference import ReferenceEvaluator",
            "",
            *body,
            last,
        ]
    )


def expected_lines(rows: Sequence[tuple[str, Any, Any]], source: str) -> list[str]:
    """Lines that list what is expected: name, value, and what an element may differ by."""
    why = f", {source}" if source else ""
    return [
        f"# Name, expected value{why}; and what an element may differ by.",
        "expected = [",
        *(f"    ({name!r}, {literal(value)}, {literal(limit)})," for name, value, limit in rows),
        "]",
    ]


def as_arrays(value: Any) -> Any:
    """A value of numpy arrays, whatever arrays it had."""
    if isinstance(value, list | tuple):
        return [as_arrays(item) for item in value]
    return value if value is None or isinstance(value, dict) else np.asarray(value)


def limit_of(value: Any, tolerance: Tolerance) -> Any:
    """What the elements of a value may differ by; of a sequence, a list of that."""
    if isinstance(value, list):
        return [limit_of(item, tolerance) for item in value]
    array = np.asarray([*value.values()] if isinstance(value, dict) else value)
    if tolerance.random:
        return np.inf
    if value is None or array.dtype == STRING or array.dtype.kind in "USb":
        return 0
    if is_integer(array.dtype) and tolerance.steps is not None:
        return tolerance.steps
    limit = allowed(array, gaps(array, array)[1], tolerance)
    return limit if np.unique(limit).size > 1 else float(np.max(limit, initial=0))


def model_lines(model: onnx.ModelProto) -> list[str]:
    """Lines that build a model of one node."""
    (node,) = model.graph.node
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    arguments = [repr(node.op_type), repr(list(node.input)), repr(list(node.output))]
    if node.domain:
        arguments.append(f"domain={node.domain!r}")
    arguments += [f"{name}={literal(value)}" for name, value in attributes.items()]
    graph = model.graph
    opsets = ", ".join(
        f"helper.make_opsetid({o.domain!r}, {o.version})" for o in model.opset_import
    )
    return [
        f"node = helper.make_node({', '.join(arguments)})",
        "graph = helper.make_graph(",
        "    [node],",
        f"    {graph.name!r},",
        f"    [{', '.join(map(value_info, graph.input))}],",
        f"    [{', '.join(map(value_info, graph.output))}],",
        f"    [{', '.join(map(initializer, graph.initializer))}],",
        ")",
        f"model = helper.make_model(graph, opset_imports=[{opsets}], "
        f"ir_version={model.ir_version})",
    ]


def bytes_lines(model: onnx.ModelProto) -> list[str]:
    """The model as its file's bytes: a graph, or subgraphs, would take pages."""
    text = base64.b64encode(model.SerializeToString()).decode()
    return [
        f"# {', '.join(node.op_type for node in model.graph.node)}",
        "import base64",
        f'model = onnx.load_from_string(base64.b64decode("{text}"))',
    ]


def value_info(value: onnx.ValueInfoProto) -> str:
    """An expression for the name, type and shape of a value."""
    kind = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type":
        text = base64.b64encode(value.SerializeToString()).decode()
        return f'onnx.ValueInfoProto.FromString(__import__("base64").b64decode("{text}"))'
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
    shape = dims if kind.HasField("shape") else None
    number = f"TensorProto.{onnx.TensorProto.DataType.Name(kind.elem_type)}"
    return f"helper.make_tensor_value_info({value.name!r}, {number}, {shape})"


def initializer(tensor: onnx.TensorProto) -> str:
    """An expression for a stored tensor."""
    return f"numpy_helper.from_array({literal(array_of(tensor))}, {tensor.name!r})"


def array_of(tensor: onnx.TensorProto) -> np.ndarray:
    """The array of a tensor; strings as `str`."""
    array = onnx.numpy_helper.to_array(tensor)
    dtype = dtype_of(tensor.data_type)
    return array.astype(str).astype(object) if dtype == STRING else array


def literal(value: Any) -> str:
    """A value as a Python expression, exactly."""
    if isinstance(value, onnx.TensorProto):
        return f"numpy_helper.from_array({literal(array_of(value))})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if not isinstance(value, np.ndarray):
        return repr(value.decode() if isinstance(value, bytes) else value)
    native = value.dtype.type.__module__ == "numpy"
    name = "object" if value.dtype == STRING else value.dtype.name
    kind = name if name == "object" else f"np.{name}" if native else f"ml_dtypes.{name}"
    if not value.size:  # a list would lose the other axes
        return f"np.zeros({value.shape}).astype({kind})"
    if native:
        return f"np.array({value.tolist()!r}, {kind})"
    return f"np.array({value.astype(np.float64).tolist()!r}).astype({kind})"
