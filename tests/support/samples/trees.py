from typing import Any

import numpy as np
from onnx import numpy_helper

from support.samples import Sample, f32

DOMAIN = "ai.onnx.ml"
X = f32(40, 3)
X[::7, 1] = np.nan
X[::5, 0] = 0.5


def forest(trees: int, depth: int, modes: list[str]) -> tuple[dict[str, Any], list[Any]]:
    """Attributes of random trees whose nodes come in any order, and the keys of their leaves."""
    rng = np.random.default_rng([trees, depth])
    rows, leaves = [], []
    for tree in range(trees):
        for node in range(2 ** (depth + 1) - 1):
            leaf = node >= 2**depth - 1 or (node > 2 and rng.random() < 0.2)
            children = (0, 0) if leaf else (2 * node + 1, 2 * node + 2)
            if node > 0 and (tree, (node - 1) // 2) in leaves:
                leaves.append((tree, node))  # cut off, so neither listed nor voting
                continue
            mode = "LEAF" if leaf else modes[rng.integers(len(modes))]
            value = 0.5 if mode.endswith("EQ") else float(np.float32(rng.uniform(-1, 1)))
            tracks = int(rng.integers(2)) if mode != "BRANCH_NEQ" else 0
            rows.append((tree, node, mode, int(rng.integers(3)), value, *children, tracks))
            if leaf:
                leaves.append((tree, node))
    listed = {row[:2] for row in rows}
    names = "treeids nodeids modes featureids values truenodeids falsenodeids"
    names += " missing_value_tracks_true"
    columns = zip(*rows, strict=True)
    attributes = {
        "nodes_" + name: list(column) for name, column in zip(names.split(), columns, strict=True)
    }
    return attributes, [leaf for leaf in leaves if leaf in listed]


def votes(
    leaves: list[Any], prefix: str, targets: list[int], low: float, weight: str = "weights"
) -> dict[str, Any]:
    rng = np.random.default_rng(len(leaves))
    keys = [(*leaf, t) for leaf in leaves for t in targets]
    trees, nodes, ids = (list(column) for column in zip(*keys, strict=True))
    weights = [float(np.float32(w)) for w in rng.uniform(low, 0.3, len(ids))]
    names = (f"{prefix}_treeids", f"{prefix}_nodeids", f"{prefix}_ids", f"{prefix}_{weight}")
    return dict(zip(names, (trees, nodes, ids, weights), strict=True))


COMPARISONS = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ"]
NODES, LEAVES = forest(5, 3, ["BRANCH_LEQ"])
MIXED, MIXED_LEAVES = forest(4, 4, COMPARISONS)


def trees(kind: str, x: np.ndarray, outputs: Any = 1, **options: Any) -> Sample:
    known = {"versions", "grad", "expected", "rtol", "atol"}
    arguments = {"versions": (1, 3), **{k: options.pop(k) for k in known.intersection(options)}}
    return Sample(f"TreeEnsemble{kind}", (x,), options, outputs, domain=DOMAIN, **arguments)


TENSORS = {
    **{k: v for k, v in NODES.items() if k != "nodes_values"},
    "nodes_values_as_tensor": numpy_helper.from_array(np.asarray(NODES["nodes_values"])),
}
DOUBLE = votes(LEAVES, "target", [0], -1)
DOUBLE["target_weights_as_tensor"] = numpy_helper.from_array(
    np.asarray(DOUBLE.pop("target_weights"))
)


def of(dtype: Any, *values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype))


# ONNX Runtime has sets of integers only.
WHOLE = np.stack([X[:, 0], np.rint(1.5 * X[:, 2]), X[:, 1]], 1)


def ensemble(dtype: Any, **options: Any) -> Sample:
    """Two trees: x0 > 0.5, else x1 in a set; and x2 <= 0.25."""
    return trees(
        "",
        WHOLE.astype(dtype),
        versions=(5,),
        n_targets=2,
        tree_roots=[0, 2],
        nodes_featureids=[0, 1, 2],
        nodes_modes=of(np.uint8, 3, 6, 0),
        nodes_splits=of(dtype, 0.5, 0, 0.25),
        nodes_truenodeids=[0, 1, 3],
        nodes_trueleafs=[1, 1, 1],
        nodes_falsenodeids=[1, 2, 4],
        nodes_falseleafs=[0, 1, 1],
        membership_values=of(dtype, -1, 2, np.nan),
        leaf_targetids=[0, 1, 0, 1, 0],
        leaf_weights=of(dtype, 1.5, 2, 0.5, -1, 4),
        nodes_missing_value_tracks_true=[0, 0, 1],
        **options,
    )


def sums(x: np.ndarray) -> np.ndarray:
    """The votes in `ensemble`."""
    first, member = x[:, 0] > 0.5, np.isin(x[:, 1], [-1, 2])
    low = ~(x[:, 2] > 0.25)
    zeros = np.where(first, 1.5, np.where(member, 0, 0.5)) + np.where(low, 0, 4)
    ones = np.where(~first & member, 2, 0) - low
    return np.stack([zeros, ones], 1).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


SAMPLES = [
    *(
        trees(
            "Regressor",
            X,
            n_targets=2,
            aggregate_function=how,
            base_values=[0.25, -0.5],
            post_transform=post,
            **NODES,
            **votes(LEAVES, "target", [0, 1], -1),
        )
        for how, post in (
            ("SUM", "NONE"),
            ("AVERAGE", "NONE"),
            ("MIN", "NONE"),
            ("MAX", "NONE"),
            ("SUM", "SOFTMAX"),
            ("SUM", "LOGISTIC"),
        )
    ),
    trees("Regressor", X, n_targets=1, **MIXED, **votes(MIXED_LEAVES, "target", [0], -1)),
    trees("Regressor", X.astype(np.float64), versions=(3,), n_targets=1, **TENSORS, **DOUBLE),
    *(
        trees(
            "Classifier",
            X,
            outputs=2,
            post_transform=post,
            **names,
            **NODES,
            **votes(LEAVES, "class", classes, low),
            **base,
        )
        for post in ("NONE", "SOFTMAX", "LOGISTIC")
        for names, classes, low, base in (
            ({"classlabels_int64s": [7, 8, 9]}, [0, 1, 2], -1, {}),
            (
                {"classlabels_strings": ["a", "b", "c"]},
                [0, 1, 2],
                0,
                {"base_values": [0.1, 1, 0.2]},
            ),
            ({"classlabels_int64s": [7, 9]}, [0], -0.3, {}),
            ({"classlabels_int64s": [7, 9]}, [0], 0, {}),
            ({"classlabels_strings": ["a", "b"]}, [0], -0.3, {"base_values": [0.2]}),
            ({"classlabels_int64s": [7, 9]}, [1], 0, {}),
        )
    ),
    ensemble(np.float32),
    ensemble(np.float64, aggregate_function=0),
    ensemble(np.float32, aggregate_function=3, post_transform=3),
    # ONNX Runtime takes 1 for LOGISTIC and 2 for SOFTMAX, the schema the other way round.
    ensemble(np.float32, post_transform=1, expected=lambda x: softmax(sums(x))),
    ensemble(np.float32, post_transform=2, expected=lambda x: 1 / (1 + np.exp(-sums(x)))),
]
