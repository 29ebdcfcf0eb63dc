"""What a table of samples cannot show of ai.onnx.ml: maps, gradients of scores, broken trees."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from jax.test_util import check_grads
from onnx import TensorProto, helper

import onnxla
from onnxla.ir.errors import ModelError
from support.samples.ml import KERNEL, PROBABLE, THREE
from support.samples.trees import LEAVES, NODES, votes

FLOAT = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
ABC = {"string_vocabulary": ["c", "b", "a"]}
LABELS = {"classlabels_strings": ["b", "a"]}


def f32(*values: float) -> np.ndarray:
    return np.asarray([values], np.float32)


def text(*values: str) -> np.ndarray:
    return np.asarray([values], object)


def model(op: str, kind: Any, outputs: int = 1, version: int = 1, **attributes: Any) -> bytes:
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, ["x"], names, domain="ai.onnx.ml", **attributes)
    graph = helper.make_graph(
        [node],
        "ml",
        [onnx.ValueInfoProto(name="x", type=kind)],
        [onnx.ValueInfoProto(name=name) for name in names],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", version)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx.shape_inference.infer_shapes(proto).SerializeToString()


def tensor(rows: int, columns: int) -> Any:
    return helper.make_tensor_type_proto(TensorProto.FLOAT, [rows, columns])


def map_of(key: int, value: int) -> Any:
    return helper.make_map_type_proto(key, helper.make_tensor_type_proto(value, []))


def ours(data: bytes, x: Any) -> Any:
    module = onnxla.load(data)
    return module.apply(module.params, x)


@pytest.mark.parametrize("labels", [LABELS, {"classlabels_int64s": [7, 3]}])
def test_zip_map(labels: dict[str, Any]) -> None:
    x = np.asarray([[0.1, 0.9], [0.7, 0.3]], np.float32)
    data = model("ZipMap", tensor(2, 2), **labels)
    assert ours(data, x) == onnxruntime.InferenceSession(data).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("op", "kind", "x", "attributes", "expected"),
    [
        ("CastMap", (7, 1), {3: 0.5, 1: 2.0}, {}, f32(2, 0.5)),
        (
            "CastMap",
            (7, 1),
            {3: 0.5, 1: 2.0},
            {"map_form": "SPARSE", "max_map": 5},
            f32(0, 2, 0, 0.5, 0),
        ),
        ("CastMap", (7, 1), {3: 0.5, 1: 2.0}, {"cast_to": "TO_INT64"}, np.asarray([[2, 0]])),
        ("CastMap", (7, 8), {3: "5", 1: "2"}, {}, f32(2, 5)),
        ("CastMap", (7, 8), {3: "x", 1: "y"}, {"cast_to": "TO_STRING"}, text("y", "x")),
        ("DictVectorizer", (8, 1), {"a": 0.5, "c": 2.0}, ABC, f32(2, 0, 0.5)),
        ("DictVectorizer", (7, 1), {1: 0.5}, {"int64_vocabulary": [0, 1]}, f32(0, 0.5)),
        ("DictVectorizer", (8, 7), {"a": 5}, ABC, np.asarray([[0, 0, 5]])),
        ("DictVectorizer", (7, 8), {1: "x"}, {"int64_vocabulary": [0, 1]}, text("", "x")),
    ],
)
def test_from_map(op: str, kind: Any, x: Any, attributes: Any, expected: np.ndarray) -> None:
    data = model(op, map_of(*kind), **attributes)
    results = [np.asarray(ours(data, x))]
    if kind[1] == TensorProto.FLOAT:  # ONNX Runtime takes no other maps from Python
        results += onnxruntime.InferenceSession(data).run(None, {"x": x})
    for result in results:
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", ["RBF", "SIGMOID"])
@pytest.mark.parametrize("probable", [{}, PROBABLE])
def test_gradients_of_svm_scores(kind: str, probable: dict[str, Any]) -> None:
    attributes = {**KERNEL, **THREE, **probable}
    data = model("SVMClassifier", tensor(2, 3), 2, kernel_type=kind, **attributes)
    module = onnxla.load(data)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3)).astype(np.float32)

    def scores(x: Any) -> Any:
        return module.apply(module.params, x)[1]

    check_grads(scores, (x,), order=1, modes=("fwd", "rev"), rtol=2e-2, atol=2e-3, eps=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes_truenodeids": [0] * len(NODES["nodes_modes"])}, "is no child"),
        ({"nodes_falsenodeids": [99] * len(NODES["nodes_modes"])}, r"does not exist: \(0, 99\)"),
        ({"nodes_nodeids": [0] * len(NODES["nodes_modes"])}, "occurs twice"),
        ({"nodes_modes": ["BRANCH_IN"] * len(NODES["nodes_modes"])}, "BRANCH_IN"),
        ({"target_treeids": [2**62] * len(LEAVES)}, f"does not exist: .{2**62}, "),
        ({"target_nodeids": [0]}, "1 numbers"),
        ({"nodes_featureids": [3] * len(NODES["nodes_modes"])}, "features 3 to 3 of 3"),
        ({"nodes_modes": ["LEAF"]}, "lengths"),
        ({"n_targets": 0}, "votes are for 0 to 0 of 0"),
    ],
)
def test_broken_trees(change: dict[str, Any], message: str) -> None:
    attributes = {"n_targets": 1, **NODES, **votes(LEAVES, "target", [0], -1), **change}
    module = onnxla.load(model("TreeEnsembleRegressor", tensor(2, 3), **attributes))
    with pytest.raises(ModelError, match=message):
        module(np.zeros((2, 3), np.float32))


def test_gradient_of_trees_is_zero() -> None:
    attributes = {"n_targets": 1, **NODES, **votes(LEAVES, "target", [0], -1)}
    module = onnxla.load(model("TreeEnsembleRegressor", tensor(2, 3), **attributes))
    x = np.full((2, 3), np.nan, np.float32)
    gradient = jax.grad(lambda x: module.apply(module.params, x).sum())(x)
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


@pytest.mark.parametrize("child", [0, 1])
def test_circle(child: int) -> None:
    data = model(
        "TreeEnsemble",
        tensor(2, 3),
        version=5,
        tree_roots=[0],
        nodes_featureids=[0, 1],
        nodes_modes=helper.make_tensor("", TensorProto.UINT8, [2], [0, 0]),
        nodes_splits=helper.make_tensor("", TensorProto.FLOAT, [2], [0, 0]),
        nodes_truenodeids=[0, 0],
        nodes_trueleafs=[1, 1],
        nodes_falsenodeids=[child, 0],
        nodes_falseleafs=[0, 0],
        leaf_targetids=[0],
        leaf_weights=helper.make_tensor("", TensorProto.FLOAT, [1], [1]),
    )
    with pytest.raises(ModelError, match="circle"):
        onnxla.load(data)(np.zeros((2, 3), np.float32))


def one_feature(**attributes: Any) -> bytes:
    """A TreeEnsemble of two comparisons with 0.5, each the root of a tree unless given."""
    n = len(attributes["leaf_targetids"])
    modes = attributes.pop("modes", [0, 0])
    weights = attributes.pop("weights", [2**i for i in range(n)])
    return model(
        "TreeEnsemble",
        tensor(4, 1),
        version=5,
        nodes_featureids=[0, 0],
        nodes_modes=helper.make_tensor("", TensorProto.UINT8, [2], modes),
        nodes_splits=helper.make_tensor("", TensorProto.FLOAT, [2], [0.5, 0.5]),
        leaf_weights=helper.make_tensor("", TensorProto.FLOAT, [n], weights),
        **attributes,
    )


AT = np.asarray([[-np.inf], [0.5], [np.inf], [np.nan]], np.float32)


@pytest.mark.parametrize("mode", range(6))
def test_who_is_at_a_leaf_stays(mode: int) -> None:
    data = one_feature(
        tree_roots=[0],
        modes=[mode, mode],
        nodes_truenodeids=[0, 1],
        nodes_trueleafs=[1, 1],
        nodes_falsenodeids=[1, 2],
        nodes_falseleafs=[0, 1],
        leaf_targetids=[0, 0, 0],
    )
    compare = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)[mode]
    true = compare(AT, 0.5) & ~np.isnan(AT)  # nothing tracks NaN as true
    np.testing.assert_array_equal(ours(data, AT), np.where(true, 1, 4))


def test_trees_that_share_a_leaf() -> None:
    data = one_feature(
        tree_roots=[0, 1],
        nodes_truenodeids=[0, 1],
        nodes_trueleafs=[1, 1],
        nodes_falsenodeids=[1, 2],
        nodes_falseleafs=[1, 1],
        leaf_targetids=[0, 1, 0],
        n_targets=2,
    )
    np.testing.assert_array_equal(ours(data, AT), [[1, 2], [1, 2], [4, 2], [4, 2]])


@pytest.mark.parametrize("how", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_trees_that_vote_for_one_target_each(how: str) -> None:
    """As boosted trees do. The targets of these 5 trees have 3, 2 and 0 of them."""
    one = votes(LEAVES, "target", [0], -1)
    one["target_ids"] = [tree % 2 for tree, _ in LEAVES]
    attributes = {"n_targets": 3, "aggregate_function": how, **NODES, **one}
    x = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    alone = []  # the scores of each tree, the weights being the same
    for tree in range(5):
        weights = [
            w if t == tree else 0 for w, (t, _) in zip(one["target_weights"], LEAVES, strict=True)
        ]
        changed = {**attributes, "aggregate_function": "SUM", "target_weights": weights}
        data = model("TreeEnsembleRegressor", tensor(20, 3), version=3, **changed)
        alone.append(np.asarray(ours(data, x))[:, tree % 2])
    reduce = {"SUM": np.sum, "AVERAGE": np.sum, "MIN": np.min, "MAX": np.max}[how]
    expected = np.stack([reduce(alone[0::2], 0), reduce(alone[1::2], 0), np.zeros(20)], 1)
    expected /= 5 if how == "AVERAGE" else 1
    data = model("TreeEnsembleRegressor", tensor(20, 3), version=3, **attributes)
    np.testing.assert_allclose(ours(data, x), expected, rtol=1e-6, atol=1e-6)


def test_texts_are_keys_of_which_the_last_counts() -> None:
    data = model(
        "LabelEncoder",
        helper.make_tensor_type_proto(TensorProto.STRING, [1, 3]),
        version=2,
        keys_strings=["a", "b", "a"],
        values_int64s=[1, 2, 3],
    )
    np.testing.assert_array_equal(onnxla.load(data)(text("b", "a", "c")), [[2, 3, -1]])
