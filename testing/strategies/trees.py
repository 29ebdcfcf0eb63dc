"""Ensembles of decision trees, domain ai.onnx.ml."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.ml import (
    DOMAIN,
    NOT_ZERO,
    POST_TRANSFORMS,
    PROBIT,
    PROBIT_CONSTANT,
    class_labels,
    floats,
)
from onnxla.testing.use import Use

MODES = tuple("BRANCH_" + name for name in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ"))
MEMBER = 6
NODES_AT_MOST = 9
# For each node its two children, the false one first, or None at a leaf. The root is the first.
Tree = list[tuple[int, int] | None]


def draw_tree(draw: Draw, least: int = 0) -> Tree:
    """A tree with at least `least` inner nodes, numbered by depth or by breadth."""
    tree: Tree = [None]
    end, inner, waiting = draw.choice((0, -1)), 0, [0]
    while waiting and len(tree) < NODES_AT_MOST:
        node = waiting.pop(end)
        if inner < least or draw.choice((False, True, True)):
            left, right = children = len(tree), len(tree) + 1
            tree[node] = (right, left) if draw.flag() else children
            tree += [None, None]
            waiting += children
            inner += 1
    return tree


def operand_and_splits(draw: Draw, count: int) -> tuple[np.ndarray, np.ndarray]:
    """X of shape (N, F), some of it NaN, and thresholds of `count` nodes that occur in X."""
    shape = (draw.side(0, 5), draw.side(1, 4))
    x = draw.tensor("X", shape, -2, 2)
    splits = draw.array(np.float32, (count,), -2, 2)
    if not draw.flag():
        splits = np.rint(splits)
        x = x if is_integer(x.dtype) else np.rint(x)
    if not is_integer(x.dtype) and draw.flag():
        missing = draw.array(np.bool_, shape)
        x = np.where(missing, np.asarray(np.nan, x.dtype), x)
    return x, splits


def modes(draw: Draw, count: int, kinds: int) -> np.ndarray:
    """The comparisons of nodes as numbers: all the same, or not."""
    if draw.flag():
        return draw.array(np.uint8, (count,), 0, kinds - 1)
    return np.full(count, draw.integer(0, kinds - 1), np.uint8)


# Ensembles with leaves among the nodes


def forest(draw: Draw) -> tuple[np.ndarray, dict[str, Any], list[tuple[int, int]]]:
    """X of shape (N, F), the attributes `nodes_*`, and the leaves by tree and node."""
    trees = [draw_tree(draw) for _ in range(draw.integer(1, 3))]
    first = draw.choice((0, 0, 3))
    keys = [(first + t, n) for t, tree in enumerate(trees) for n in range(len(tree))]
    children = [node for tree in trees for node in tree]
    count = len(keys)
    x, splits = operand_and_splits(draw, count)
    mode = [MODES[code] for code in modes(draw, count, len(MODES))]
    attributes: dict[str, Any] = {
        "nodes_treeids": [tree for tree, _ in keys],
        "nodes_nodeids": [node for _, node in keys],
        "nodes_modes": ["LEAF" if c is None else m for m, c in zip(mode, children, strict=True)],
        "nodes_featureids": draw.array(np.int64, (count,), 0, x.shape[1] - 1).tolist(),
        "nodes_falsenodeids": [0 if c is None else c[0] for c in children],
        "nodes_truenodeids": [0 if c is None else c[1] for c in children],
        "nodes_missing_value_tracks_true": draw.maybe(
            lambda: draw.array(np.int64, (count,), 0, 1).tolist()
        ),
        "nodes_values": splits.tolist(),
        "nodes_hitrates": draw.maybe(lambda: floats(draw, count, 0, 1)),
    }
    leaves = [key for key, node in zip(keys, children, strict=True) if node is None]
    return x, attributes, leaves


def votes(
    draw: Draw, leaves: list[tuple[int, int]], targets: int, prefix: str, probit: bool
) -> dict[str, Any]:
    """The attributes with what each leaf votes for: all targets, some, or one and the same."""
    voted = np.zeros((len(leaves), targets), bool)
    kind = draw.choice(("all", "some", "one"))
    # The probit function is defined between 0 and 1, where no target goes without a vote.
    if kind == "all" or probit:
        voted[:] = True
    elif kind == "some":
        voted = draw.array(np.bool_, voted.shape)
        voted[0, 0] = True
    else:
        voted[:, draw.integer(0, targets - 1)] = True
    where = np.argwhere(voted)
    low, high = (0.03, 0.08) if probit else draw.choice(((-1, 1), (0, 1)))
    return {
        f"{prefix}_treeids": [leaves[i][0] for i, _ in where],
        f"{prefix}_nodeids": [leaves[i][1] for i, _ in where],
        f"{prefix}_ids": where[:, 1].tolist(),
        f"{prefix}_weights": floats(draw, len(where), low, high),
    }


def base_values(draw: Draw, count: int, post: str | None) -> list[float] | None:
    """What is added to the votes, or None."""
    if post == "SOFTMAX_ZERO":
        return [NOT_ZERO, *floats(draw, count - 1, -1, 1)]
    bounds = PROBIT_CONSTANT if post == "PROBIT" else (-1, 1)
    return draw.maybe(lambda: floats(draw, count, *bounds))


def as_tensors(draw: Draw, attributes: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Attributes, of which those that may be tensors of doubles are some, for such an X."""
    if dtype != np.float64 or not draw.has("nodes_values_as_tensor") or not draw.flag():
        return attributes
    names = [k for k in attributes if draw.has(f"{k}_as_tensor") and attributes[k] is not None]
    changed = {
        f"{k}_as_tensor": numpy_helper.from_array(np.asarray(attributes[k], np.float64))
        for k in names
    }
    return {k: v for k, v in attributes.items() if k not in names} | changed


@strategy("TreeEnsembleRegressor", domain=DOMAIN)
def tree_ensemble_regressor(draw: Draw) -> Use:
    """X of shape (N, F)."""
    x, attributes, leaves = forest(draw)
    targets, post = draw.integer(1, 3), draw.choice(POST_TRANSFORMS)
    probit = post == "PROBIT"
    attributes |= votes(draw, leaves, targets, "target", probit)
    attributes |= {
        "n_targets": targets,
        "aggregate_function": draw.choice((None, "SUM", "AVERAGE", "MIN", "MAX")),
        "base_values": base_values(draw, targets, post),
        "post_transform": post,
    }
    attributes = as_tensors(draw, attributes, x.dtype)
    return draw.use((x,), attributes, ranks={"y0": 2}, rtol=PROBIT if probit else 1e-5, batch=(0,))


@strategy("TreeEnsembleClassifier", domain=DOMAIN)
def tree_ensemble_classifier(draw: Draw) -> Use:
    """X of shape (N, F)."""
    x, attributes, leaves = forest(draw)
    classes, post = draw.integer(2, 4), draw.choice(POST_TRANSFORMS)
    probit = post == "PROBIT"
    labels, kind = class_labels(draw, classes, "classlabels_int64s")
    attributes |= votes(draw, leaves, classes, "class", probit) | labels
    attributes |= {"base_values": base_values(draw, classes, post), "post_transform": post}
    return draw.use(
        (x,),
        as_tensors(draw, attributes, x.dtype),
        outputs=2,
        types={"y0": kind},
        ranks={"y0": 1, "y1": 2},
        rtol=PROBIT if probit else 1e-5,
        batch=(0,),
    )


# Ensembles with leaves apart


@strategy("TreeEnsemble", domain=DOMAIN)
def tree_ensemble(draw: Draw) -> Use:
    """X of shape (N, F)."""
    roots: list[int] = []
    sides: tuple[list[int], list[int]] = ([], [])
    is_leaf: tuple[list[int], list[int]] = ([], [])
    leaves = 0
    for _ in range(draw.integer(1, 3)):
        tree = draw_tree(draw)
        roots.append(len(sides[0]))
        if len(tree) == 1:  # both branches lead to the one leaf
            tree = [(1, 1), None]
        inner = [i for i, node in enumerate(tree) if node is not None]
        outer = [i for i, node in enumerate(tree) if node is None]
        first = len(sides[0])
        for children in filter(None, tree):
            for side, child in enumerate(children):
                leaf = tree[child] is None
                number = leaves + outer.index(child) if leaf else first + inner.index(child)
                sides[side].append(number)
                is_leaf[side].append(int(leaf))
        leaves += len(outer)
    count = len(sides[0])
    x, splits = operand_and_splits(draw, count)
    mode = modes(draw, count, MEMBER + 1)
    targets, post = draw.integer(1, 3), draw.choice((None, None, None, 0, 1, 2, 3, 4))
    probit = post == 4
    members: list[float] = []
    for _ in range(int((mode == MEMBER).sum())):
        members += [float(v) for v in draw.subset(4, 1)] + [np.nan]
    # The probit function is defined between 0 and 1; a target without a leaf has the score 0.
    targets = 1 if probit else targets
    weights = draw.array(x.dtype, (leaves,), *((0.05, 0.1) if probit else (-2, 2)))
    if post == 3:  # SOFTMAX_ZERO
        weights = weights + np.asarray(NOT_ZERO, x.dtype)

    def tensor(values: Any, dtype: Any = x.dtype) -> Any:
        return numpy_helper.from_array(np.asarray(values, dtype))

    attributes = {
        "tree_roots": roots,
        "nodes_falsenodeids": sides[0],
        "nodes_truenodeids": sides[1],
        "nodes_falseleafs": is_leaf[0],
        "nodes_trueleafs": is_leaf[1],
        "nodes_featureids": draw.array(np.int64, (count,), 0, x.shape[1] - 1).tolist(),
        "nodes_splits": tensor(splits),
        "nodes_modes": tensor(mode, np.uint8),
        "nodes_missing_value_tracks_true": draw.maybe(
            lambda: draw.array(np.int64, (count,), 0, 1).tolist()
        ),
        "nodes_hitrates": draw.maybe(lambda: tensor(floats(draw, count, 0, 1), np.float32)),
        "membership_values": tensor(members) if members else None,
        "leaf_targetids": draw.array(np.int64, (leaves,), 0, targets - 1).tolist(),
        "leaf_weights": tensor(weights),
        "n_targets": targets,
        "aggregate_function": draw.choice((None, 0, 1, 2, 3)),
        "post_transform": post,
    }
    return draw.use((x,), attributes, ranks={"y0": 2}, rtol=PROBIT if probit else 1e-5, batch=(0,))
