"""Forests of decision trees: loading, the first call and later calls, beside ONNX Runtime.

Both sides are in one process and take turns. A forest is one node with lists of numbers, as
scikit-learn, LightGBM and XGBoost are converted: 500 trees of depth 9. The first call, which
compiles, is one of a freshly loaded model each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

import onnxla
from timing import alone, beside, in_turn, once, seconds, warm

FEATURES, CLASSES = 30, 3


def grow(trees: int, depth: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Nodes of trees in the numbering of TreeEnsembleClassifier, -1 for what a leaf has not.

    Above level 4 all nodes have two children, below it nine of ten.
    """
    rng = np.random.default_rng(seed)
    tree, number = np.arange(trees), np.zeros(trees, int)
    used = np.ones(trees, int)
    levels = []
    for level in range(depth + 1):
        inner = rng.random(len(tree)) < (0 if level == depth else 1 if level < 4 else 0.9)
        # The k-th inner node of its tree on this level has the next two numbers.
        before = np.cumsum(inner) - inner
        first = before[np.searchsorted(tree, np.arange(trees))]
        true = np.where(inner, used[tree] + 2 * (before - first[tree]), -1)
        levels.append((tree, number, inner, true))
        used += 2 * np.bincount(tree[inner], minlength=trees)
        tree = np.repeat(tree[inner], 2)
        number = np.stack([true[inner], true[inner] + 1], 1).reshape(-1)
    tree, number, inner, true = map(np.concatenate, zip(*levels, strict=True))
    order = np.lexsort([number, tree])
    tree, number, inner, true = tree[order], number[order], inner[order], true[order]
    return {
        "tree": tree,
        "number": number,
        "inner": inner,
        "true": true,
        "false": np.where(inner, true + 1, -1),
        "feature": np.where(inner, rng.integers(0, FEATURES, len(tree)), 0),
        "split": np.where(inner, rng.random(len(tree)), 0).astype(np.float32),
    }


def attribute(name: str, values: np.ndarray) -> AttributeProto:
    """A list of numbers; `onnx.helper` looks at each."""
    if values.dtype.kind == "f":
        return AttributeProto(name=name, type=AttributeProto.FLOATS, floats=values.tolist())
    if values.dtype.kind == "S":
        return AttributeProto(name=name, type=AttributeProto.STRINGS, strings=values.tolist())
    return AttributeProto(name=name, type=AttributeProto.INTS, ints=values.tolist())


def model_of(op: str, version: int, outputs: int, attributes: list[AttributeProto]) -> bytes:
    """A model of one node."""
    names = ["label", "score"][-outputs:]
    node = helper.make_node(op, ["x"], names, domain="ai.onnx.ml")
    node.attribute.extend(attributes)
    types = {"label": TensorProto.INT64, "score": TensorProto.FLOAT}
    shapes = {"label": ["N"], "score": ["N", CLASSES]}
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info(name, types[name], shapes[name]) for name in names],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", version), helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def classifier(trees: int, depth: int) -> bytes:
    """A TreeEnsembleClassifier of version 3: each leaf votes for each class, as a forest does."""
    nodes = grow(trees, depth)
    leaf = np.repeat(np.flatnonzero(~nodes["inner"]), CLASSES)
    weights = np.random.default_rng(1).dirichlet(np.ones(CLASSES), len(leaf) // CLASSES) / trees
    columns = {
        "nodes_treeids": nodes["tree"],
        "nodes_nodeids": nodes["number"],
        "nodes_modes": np.where(nodes["inner"], b"BRANCH_LEQ", b"LEAF"),
        "nodes_featureids": nodes["feature"],
        "nodes_values": nodes["split"],
        "nodes_truenodeids": np.maximum(nodes["true"], 0),
        "nodes_falsenodeids": np.maximum(nodes["false"], 0),
        "class_treeids": nodes["tree"][leaf],
        "class_nodeids": nodes["number"][leaf],
        "class_ids": np.tile(np.arange(CLASSES), len(leaf) // CLASSES),
        "class_weights": weights.astype(np.float32).reshape(-1),
        "classlabels_int64s": np.arange(CLASSES),
    }
    attributes = [attribute(name, values) for name, values in columns.items()]
    return model_of("TreeEnsembleClassifier", 3, 2, attributes)


def ensemble(trees: int, depth: int) -> bytes:
    """A TreeEnsemble of version 5: each leaf votes for one target, as boosted trees do."""
    nodes = grow(trees, depth)
    inner, tree = nodes["inner"], nodes["tree"]
    start = np.searchsorted(tree, np.arange(trees))[tree]
    place = np.where(inner, np.cumsum(inner), np.cumsum(~inner)) - 1
    true, false = ((start + nodes[side])[inner] for side in ("true", "false"))
    leaves = int((~inner).sum())
    columns = {
        "nodes_featureids": nodes["feature"][inner],
        "nodes_truenodeids": place[true],
        "nodes_trueleafs": ~inner[true],
        "nodes_falsenodeids": place[false],
        "nodes_falseleafs": ~inner[false],
        "tree_roots": place[np.searchsorted(tree, np.arange(trees))],
        "leaf_targetids": tree[~inner] % CLASSES,
    }
    weights = np.random.default_rng(1).normal(0, 1 / trees, leaves).astype(np.float32)
    tensors = {
        "nodes_modes": np.zeros(int(inner.sum()), np.uint8),
        "nodes_splits": nodes["split"][inner],
        "leaf_weights": weights,
    }
    attributes = [attribute(name, values.astype(np.int64)) for name, values in columns.items()]
    attributes += [
        helper.make_attribute(name, numpy_helper.from_array(values))
        for name, values in tensors.items()
    ]
    attributes.append(helper.make_attribute("n_targets", CLASSES))
    return model_of("TreeEnsemble", 5, 1, attributes)


MAKERS = {"TreeEnsembleClassifier-3": classifier, "TreeEnsemble-5": ensemble}
ROWS = (1, 100, 10_000)
FIRST = 3  # first calls, each of which compiles


def measure(
    trees: int = 500, depth: int = 9, runs: int = 15, rows: Iterable[int] = ROWS
) -> Iterator[dict[str, Any]]:
    """What a forest in both forms takes: a row for each, and for load, first call and call."""
    import onnxruntime

    for name, make in MAKERS.items():
        warm_up = onnxla.load(make(2, 4))  # what is set up once counts for no forest
        jax.block_until_ready(warm_up(np.zeros((2, FEATURES), np.float32)))
        data = make(trees, depth)

        def load(data: bytes = data) -> onnxla.Module:
            module = onnxla.load(data)
            jax.block_until_ready(module.params)
            return module

        def session(data: bytes = data) -> Any:
            return onnxruntime.InferenceSession(data)

        found = beside("ONNX Runtime", *in_turn(runs, once(load), once(session)))
        yield {"model": name, "file bytes": len(data), "what": "load", **found}
        for count in rows:
            x = np.random.default_rng(2).random((count, FEATURES), np.float32)
            module, peer = load(), session()
            expected = peer.run(None, {"x": x})[-1]
            np.testing.assert_allclose(module.run({"x": x})["score"], expected, atol=1e-5)
            fresh = [load() for _ in range(FIRST)]
            first = [seconds(lambda m=m, x=x: jax.block_until_ready(m(x))) for m in fresh]
            yield {"model": name, "what": f"first call, rows={count}", **alone(first)}

            def ours(module: onnxla.Module = module, x: np.ndarray = x) -> object:
                return jax.block_until_ready(module(x))

            def theirs(peer: Any = peer, x: np.ndarray = x) -> object:
                return peer.run(None, {"x": x})

            found = beside("ONNX Runtime", *in_turn(runs, warm(ours), warm(theirs)))
            yield {"model": name, "what": f"call, rows={count}", **found}
