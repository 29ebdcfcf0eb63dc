"""The products and convolutions of the models by themselves, beside ONNX Runtime.

Each convolution, Gemm and MatMul with a constant of the models of `models.py` is a model of one
node, with a batch of one; those of one shape are measured once, and counted. A model's row has the
sum: what XLA's own products make of the time in the table of inference, and what they would if they
were as fast as ONNX Runtime's. They have no activations to fuse with here, which both sides do have
in the models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from onnx import TensorProto, helper, numpy_helper

import onnxla
from inference import start
from models import LENGTHS, MODELS, feeds
from timing import beside, in_turn, warm

PRODUCTS = ("Conv", "Gemm", "MatMul")
PEER = "ONNX Runtime"

Shape = tuple[int, ...]
Product = tuple[str, Shape, Shape, tuple[tuple[str, Any], ...]]
"""An operator, the shapes of its operands, and its attributes."""


def products(name: str) -> Counter[Product]:
    """Those of a model that read a constant, by shape."""
    model = MODELS[name]()
    inputs = feeds(model, 1, LENGTHS.get(name))
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes = [
        node for node in model.graph.node if node.op_type in PRODUCTS and node.input[1] in constants
    ]
    module, read = onnxla.load(model), [node.input[0] for node in nodes]
    made = [*dict.fromkeys(name for name in read if name not in inputs)]
    values = jax.eval_shape(partial(module.apply, outputs=made), module.params, **inputs)
    shapes = {
        name: value.shape for name, value in (*inputs.items(), *zip(made, values, strict=True))
    }
    found: Counter[Product] = Counter()
    for node in nodes:
        attributes = [(a.name, helper.get_attribute_value(a)) for a in node.attribute]
        how = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in attributes)
        found[node.op_type, shapes[node.input[0]], constants[node.input[1]], how] += 1
    return found


def alone(product: Product) -> tuple[bytes, dict[str, np.ndarray]]:
    """A model of one product, and its input."""
    op_type, shape, weights, attributes = product
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(sizes, np.float32) for sizes in (shape, weights))
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x", "w"], ["y"], **dict(attributes))],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString(), {
        "x": x
    }


def sides(product: Product, runs: int) -> list[list[float]]:
    """Seconds of both."""
    data, inputs = alone(product)
    module = onnxla.load(data)
    return in_turn(
        runs, warm(lambda: jax.block_until_ready(module(inputs))), warm(start(data, inputs))
    )


def measure(runs: int = 15) -> Iterator[dict[str, Any]]:
    """A row for each shape, the largest first, and one for each model's sum."""
    for name in MODELS:
        rows, sums = [], np.zeros((2, runs))
        for product, count in products(name).items():
            times = sides(product, runs)
            sums += count * np.sort(times)
            op_type, x, w, attributes = product
            how = dict(attributes)
            steps = f", strides {max(how['strides'])}" if max(how.get("strides", [1])) > 1 else ""
            groups = f", group {how['group']}" if how.get("group", 1) > 1 else ""
            shown = f"{op_type} {list(x)} by {list(w)}{steps}{groups}"
            rows.append({"model": name, "product": shown, "count": count} | beside(PEER, *times))
        yield {"model": name, "product": "all", "count": sum(products(name).values())} | beside(
            PEER, *sums.tolist()
        )
        yield from sorted(rows, key=lambda row: -row["count"] * row["onnxla"])
