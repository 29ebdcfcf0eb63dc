"""A decoder without its cache, which whole sequences are given to: what training takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.generate.branches import BRANCH
from onnxla.generate.caches import Cache
from onnxla.generate.model import CachedModel
from onnxla.ir.rewrite import cut
from onnxla.module import Module


def without_past(module: Module, caches: Mapping[str, str] | None = None) -> Module:
    """The decoder as a function of whole sequences: its pasts are empty, its output the logits.

    The values of parameters and the adapters are the module's. What was trained goes back into the
    file with the cache by `module.paste(trained)`.

    For example:

        whole = onnxla.generate.without_past(onnxla.load("decoder.onnx"))

    Args:
        module: A decoder with a cache.
        caches: Outputs by the inputs whose next values they are, if their names do not say it.

    Raises:
        ValueError: It has no cache, tokens or logits by names that exporters give.
        UnsupportedError: The file does not state enough of a shape.
    """
    decoder = CachedModel(module.program, caches)
    model = decoder.first.model
    gone = {BRANCH, *(cache.past for cache in decoder.caches)}
    nodes = [node for cache in decoder.caches for node in empty(cache, decoder)]
    graph = replace(
        model.graph,
        inputs=tuple(value for value in model.graph.inputs if value.name not in gone),
        nodes=(*nodes, *model.graph.nodes),
    )
    return module.with_model(cut(replace(model, graph=graph), outputs=(decoder.logits,)))


def empty(cache: Cache, decoder: CachedModel) -> Iterator[ir.Node]:
    """Nodes that make a past of no tokens, of as many sequences as there are in a batch."""
    dtype = decoder.dtype(cache.past)
    name = f"{cache.past}.empty"
    shape = [*cache.shape(1, 0)]

    def constant(value: np.ndarray, output: str) -> ir.Node:
        return made("Constant", (), output, value=ir.Tensor.of("", value))

    yield made("Shape", (decoder.ids,), f"{name}.ids")
    yield constant(np.zeros(1, np.int64), f"{name}.first")
    yield made("Gather", (f"{name}.ids", f"{name}.first"), f"{name}.batch")
    parts = (shape[: cache.batch], shape[cache.batch + 1 :])
    for part, sizes in zip(("before", "after"), parts, strict=True):
        yield constant(np.array(sizes, np.int64), f"{name}.{part}")
    ends = (f"{name}.before", f"{name}.batch", f"{name}.after")
    yield made("Concat", ends, f"{name}.shape", axis=0)
    value = ir.Tensor.of("", np.zeros(1, dtype))
    yield made("ConstantOfShape", (f"{name}.shape",), cache.past, value=value)


def made(op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> ir.Node:
    """A node of one output."""
    return ir.Node(op_type, tuple(inputs), (output,), attributes=attributes, name=output)
