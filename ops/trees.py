"""Ensembles of decision trees, domain ai.onnx.ml: all rows go down all trees at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError
from onnxla.ops.cast import widen
from onnxla.ops.checks import only
from onnxla.ops.index import argmax
from onnxla.ops.limits import check_size
from onnxla.ops.ml import (
    DOMAIN,
    SINGLE,
    TRANSFORMS,
    Floats,
    Ints,
    Strings,
    array,
    both,
    labels,
    one_of,
    transform,
)
from onnxla.ops.table import op
from onnxla.ops.values import Value

# In the order of their numbers in TreeEnsemble-5.
MODES = tuple("BRANCH_" + name for name in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER"))
COMPARISONS: tuple[Any, ...] = (
    *(jnp.less_equal, jnp.less, jnp.greater_equal, jnp.greater, jnp.equal, jnp.not_equal),
)
MEMBER = 6
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


@dataclass(frozen=True)
class Forest:
    """Nodes of trees in one numbering, in which a leaf has itself as both children.

    Attributes:
        mode, feature, split, tracks_true: Of each node.
        children: [2, nodes]: where to go if the comparison is false, and if it is true.
        roots: Node of each tree to start at.
        members: [K, M]: the sets of the K nodes of mode MEMBER, filled up with NaN.
    """

    mode: np.ndarray
    feature: np.ndarray
    split: np.ndarray
    tracks_true: np.ndarray
    children: np.ndarray
    roots: np.ndarray
    members: np.ndarray

    def depth(self) -> int:
        """The greatest number of comparisons on a path. Raises: ModelError if one is a circle."""
        count = len(self.feature)
        front, itself = np.unique(self.roots), np.arange(count)
        for depth in range(count + 1):
            front = front[self.children[0, front] != itself[front]]
            if not front.size:
                return depth
            front = np.unique(self.children[:, front])
        raise ModelError("the nodes of a tree form a circle")

    def leaves(self, x: Value) -> Value:
        """The leaf of each tree that each row of x [N, F] arrives at; [N, trees]."""
        inner = self.children[0] != np.arange(len(self.feature))
        used = self.feature[inner]
        if used.size and not 0 <= used.min() <= used.max() < x.shape[1]:
            raise ModelError(f"features {used.min()} to {used.max()} of {x.shape[1]} are compared")
        modes = np.unique(self.mode[inner]) if inner.any() else np.zeros(1, int)
        x, split = lax.stop_gradient(jnp.asarray(x)), jnp.asarray(self.split.astype(x.dtype))
        # A leaf may name any feature.
        feature = jnp.asarray(np.where(inner, self.feature, 0))
        mode, children = jnp.asarray(self.mode), jnp.asarray(self.children)
        slot = jnp.asarray(np.maximum(np.cumsum(self.mode == MEMBER) - 1, 0))
        tracks, members = jnp.asarray(self.tracks_true), jnp.asarray(self.members.astype(x.dtype))

        def holds(code: int, value: Value, node: Value) -> Value:
            if code == MEMBER:
                return (value[..., None] == members[slot[node]]).any(-1)
            return COMPARISONS[code](value, split[node])

        def step(_: int, node: Value) -> Value:
            value = jnp.take_along_axis(x, feature[node], 1)
            true = holds(modes[0], value, node)
            for code in modes[1:]:
                true = jnp.where(mode[node] == code, holds(code, value, node), true)
            true = jnp.where(jnp.isnan(value), tracks[node], true)
            return children[true.astype(np.int32), node]

        start = jnp.broadcast_to(jnp.asarray(self.roots), (x.shape[0], len(self.roots)))
        return lax.fori_loop(0, self.depth(), step, start)


def aggregate(
    forest: Forest, x: Value, n: int, node: Any, target: Any, weight: np.ndarray, how: str
) -> Value:
    """The votes [N, n] of the leaves, each a (node, target, weight), aggregated over the trees."""
    node, target = np.asarray(node, np.int64), np.asarray(target, np.int64)
    if not len(node) == len(target) == len(weight):
        raise ModelError(f"votes have {len(node)} nodes, {len(target)} ids, {len(weight)} weights")
    if target.size and not 0 <= target.min() <= target.max() < n:
        raise ModelError(f"votes are for {target.min()} to {target.max()} of {n}")
    only("aggregate_function", how, *AGGREGATES)
    functions = {"MIN": (np.minimum, jnp.min, np.inf), "MAX": (np.maximum, jnp.max, -np.inf)}
    combine, reduce, nothing = functions.get(how, (np.add, jnp.sum, 0))
    shape = check_size((len(forest.feature), n), x.dtype, "the votes of all nodes")
    table = np.full(shape, nothing, x.dtype)
    combine.at(table, (node, target), weight.astype(x.dtype))
    scores = reduce(jnp.asarray(table)[forest.leaves(x)], 1)
    if how == "AVERAGE":
        scores = scores / len(forest.roots)
    return jnp.where(scores == nothing, 0, scores) if nothing else scores


def find(
    ids: dict[tuple[int, int], int], trees: Sequence[int] | None, nodes: Sequence[int] | None
) -> np.ndarray:
    """The positions of nodes that are named by tree and number."""
    try:
        return np.asarray([ids[key] for key in zip(trees or (), nodes or (), strict=True)], int)
    except (KeyError, ValueError) as error:
        raise ModelError(f"a tree's node does not exist: {error}") from error


def numbers(floats: Floats, tensor: np.ndarray | None) -> np.ndarray:
    """An attribute that may be given as a tensor."""
    return array(floats or ()) if tensor is None else tensor


@dataclass(frozen=True)
class TreeAttributes:
    """The attributes of trees before opset 5 that are not about what leaves vote for."""

    base_values: Floats = None
    base_values_as_tensor: np.ndarray | None = None
    nodes_falsenodeids: Ints = None
    nodes_featureids: Ints = None
    nodes_hitrates: Floats = None
    nodes_hitrates_as_tensor: np.ndarray | None = None
    nodes_missing_value_tracks_true: Ints = None
    nodes_modes: Strings = None
    nodes_nodeids: Ints = None
    nodes_treeids: Ints = None
    nodes_truenodeids: Ints = None
    nodes_values: Floats = None
    nodes_values_as_tensor: np.ndarray | None = None
    post_transform: str = "NONE"

    def based(self, scores: Value) -> Value:
        """Scores [N, n] + base values, of which there are none, or n."""
        base = numbers(self.base_values, self.base_values_as_tensor).astype(scores.dtype)
        if base.size not in (0, scores.shape[1]):
            raise ModelError(f"there are {base.size} base values for {scores.shape[1]} scores")
        return scores + base if base.size else scores

    def forest(self) -> tuple[Forest, dict[tuple[int, int], int]]:
        """The forest, and the positions of nodes by tree and number."""
        count, modes = len(self.nodes_treeids or ()), self.nodes_modes or ()
        tracks_true = self.nodes_missing_value_tracks_true or (0,) * count
        splits = numbers(self.nodes_values, self.nodes_values_as_tensor)
        names = self.nodes_treeids, self.nodes_nodeids, self.nodes_truenodeids
        others = self.nodes_falsenodeids, self.nodes_featureids, splits, tracks_true
        columns = [np.asarray(() if c is None else c) for c in (*names, *others)]
        if not count or {len(modes), *map(len, columns)} != {count}:
            raise ModelError("the attributes nodes_* have different lengths, or none")
        if unknown := set(modes).difference(MODES[:MEMBER], ["LEAF"]):
            raise ModelError(f"nodes_modes has {sorted(unknown)}")
        owner, number, true, false, feature, split, tracks = columns
        keys = zip(owner.tolist(), number.tolist(), strict=True)
        ids = {key: i for i, key in enumerate(keys)}
        if len(ids) < count:
            raise ModelError("a node's number occurs twice in a tree")
        code = np.asarray([-1 if mode == "LEAF" else MODES.index(mode) for mode in modes])
        inner, children = code >= 0, np.tile(np.arange(count), (2, 1))
        for row, column in zip(children, (false, true), strict=True):
            row[inner] = find(ids, owner[inner].tolist(), column[inner].tolist())
        if (children[0] == np.arange(count))[inner].any():
            raise ModelError("the nodes of a tree form a circle")
        roots = np.setdiff1d(np.arange(count), children[:, inner])
        if sorted(owner[roots].tolist()) != sorted(set(owner.tolist())):
            raise ModelError("a tree must have one node that is no child")
        mode, members = np.maximum(code, 0), np.zeros((1, 1))
        return Forest(mode, feature, split, tracks.astype(bool), children, roots, members), ids


TREES = TreeAttributes()


@op("TreeEnsembleRegressor", since=(1, 3, 5), domain=DOMAIN)
def tree_ensemble_regressor(
    X: Value,
    *,
    aggregate_function: str = "SUM",
    n_targets: int | None = None,
    trees: TreeAttributes = TREES,
    target_ids: Ints = None,
    target_nodeids: Ints = None,
    target_treeids: Ints = None,
    target_weights: Floats = None,
    target_weights_as_tensor: np.ndarray | None = None,
    single: np.dtype = SINGLE,
) -> Value:
    """The aggregated weights of the leaves that X [N, F] arrives at + base values; [N, targets]."""
    forest, ids = trees.forest()
    n, leaves = 1 if n_targets is None else n_targets, find(ids, target_treeids, target_nodeids)
    weights = numbers(target_weights, target_weights_as_tensor)
    targets = target_ids or ()
    scores = aggregate(forest, widen(X), n, leaves, targets, weights, aggregate_function)
    return transform(trees.based(scores), trees.post_transform, single)


@op("TreeEnsembleClassifier", since=(1, 3, 5), domain=DOMAIN)
def tree_ensemble_classifier(
    X: Value,
    *,
    class_ids: Ints = None,
    class_nodeids: Ints = None,
    class_treeids: Ints = None,
    class_weights: Floats = None,
    class_weights_as_tensor: np.ndarray | None = None,
    classlabels_int64s: Ints = None,
    classlabels_strings: Strings = None,
    trees: TreeAttributes = TREES,
    single: np.dtype = SINGLE,
) -> tuple[Value, Value]:
    """The labels [N] of the best classes, and scores [N, classes].

    These are the sums of the votes of the leaves that X [N, F] arrives at, + base values. As in
    ONNX Runtime, if all votes are for the same one of two classes, their sum is the score of the
    second class, which is chosen where it is above 0.5, or above 0 if there are negative weights.
    """
    _, names = one_of(
        classlabels_int64s=classlabels_int64s, classlabels_strings=classlabels_strings
    )
    forest, ids = trees.forest()
    weights = numbers(class_weights, class_weights_as_tensor)
    leaves, voted = find(ids, class_treeids, class_nodeids), set(class_ids or ())
    scores = aggregate(forest, widen(X), len(names), leaves, class_ids or (), weights, "SUM")
    base = numbers(trees.base_values, trees.base_values_as_tensor).astype(scores.dtype)
    if len(names) == 2 and len(voted) == 1 and base.size < 2:
        (one,) = voted
        score = scores[:, one] + (base if base.size else 0)
        positive = bool((weights >= 0).all())
        index = (score > (0.5 if positive else 0)).astype(np.int64)
        if one == 0:
            result = both(score, trees.post_transform, positive, single)
        else:
            pair = jnp.stack([jnp.zeros_like(score), score], 1)
            result = transform(pair, trees.post_transform, single)
    else:
        scores = trees.based(scores)
        index, result = argmax(scores, 1), transform(scores, trees.post_transform, single)
    return labels(index, classlabels_int64s, classlabels_strings, "classlabels_int64"), result


@op("TreeEnsemble", since=(5,), domain=DOMAIN)
def tree_ensemble(
    X: Value,
    *,
    aggregate_function: int = 1,
    leaf_targetids: tuple[int, ...],
    leaf_weights: np.ndarray,
    membership_values: np.ndarray | None = None,
    n_targets: int | None = None,
    nodes_falseleafs: tuple[int, ...],
    nodes_falsenodeids: tuple[int, ...],
    nodes_featureids: tuple[int, ...],
    nodes_hitrates: np.ndarray | None = None,
    nodes_missing_value_tracks_true: Ints = None,
    nodes_modes: np.ndarray,
    nodes_splits: np.ndarray,
    nodes_trueleafs: tuple[int, ...],
    nodes_truenodeids: tuple[int, ...],
    post_transform: int = 0,
    tree_roots: tuple[int, ...],
) -> Value:
    """The aggregated weights of the leaves that X [N, F] arrives at; [N, n_targets], like X."""
    n, n_leaves = len(nodes_featureids), len(leaf_targetids)
    tracks_true = nodes_missing_value_tracks_true or (0,) * n
    sides = (nodes_falsenodeids, nodes_falseleafs), (nodes_truenodeids, nodes_trueleafs)
    columns: Sequence[Any] = (nodes_modes, nodes_splits, tracks_true, *sides[0], *sides[1])
    lengths = set(map(len, columns))
    if lengths != {n}:
        raise ModelError(f"the attributes nodes_* have different lengths: {sorted(lengths | {n})}")
    if not (0 <= aggregate_function < len(AGGREGATES) and 0 <= post_transform < len(TRANSFORMS)):
        raise ModelError(f"{aggregate_function=}, {post_transform=}")
    # Leaves are numbered after the nodes.
    roots, children = np.asarray(tree_roots), np.tile(np.arange(n + n_leaves), (2, 1))
    for row, (ids, leaf) in zip(children, sides, strict=True):
        child, is_leaf = np.asarray(ids), np.asarray(leaf, bool)
        if not ((child >= 0) & (child < np.where(is_leaf, n_leaves, n))).all():
            raise ModelError(f"a node's child is none of {n} nodes, or of {n_leaves} leaves")
        row[:n] = child + n * is_leaf
    if (children[0, :n] == np.arange(n)).any():
        raise ModelError("the nodes of a tree form a circle")
    if not ((roots >= 0) & (roots < n)).all():
        raise ModelError(f"tree_roots={tree_roots} of {n} nodes")
    if nodes_modes.max(initial=0) > MEMBER:
        raise ModelError(f"nodes_modes has {nodes_modes.max()}")

    def filled(values: Any) -> np.ndarray:
        return np.concatenate([values, np.zeros(n_leaves, np.asarray(values).dtype)])

    given = nodes_modes, nodes_featureids, nodes_splits, tracks_true
    mode, feature, split, tracks = map(filled, given)
    members = member_sets(int((nodes_modes == MEMBER).sum()), membership_values)
    forest = Forest(mode, feature, split, tracks.astype(bool), children, roots, members)
    nodes, how = n + np.arange(n_leaves), AGGREGATES[aggregate_function]
    count = max(leaf_targetids, default=0) + 1 if n_targets is None else n_targets
    scores = aggregate(forest, widen(X), count, nodes, leaf_targetids, leaf_weights, how)
    return TRANSFORMS[[*TRANSFORMS][post_transform]](scores).astype(X.dtype)


def member_sets(count: int, values: np.ndarray | None) -> np.ndarray:
    """The `count` sets in `values`, which are delimited by NaN, each filled up with NaN."""
    if not count:
        return np.zeros((1, 1))
    flat = np.asarray([] if values is None else values)
    sets = [part[~np.isnan(part)] for part in np.split(flat, np.flatnonzero(np.isnan(flat)))]
    sets = sets[:-1] if len(sets) == count + 1 and not sets[-1].size else sets
    if len(sets) != count:
        raise ModelError(f"membership_values has {len(sets)} sets for {count} nodes")
    result = np.full(check_size((count, max(map(len, sets)))), np.nan)
    for row, part in zip(result, sets, strict=True):
        row[: len(part)] = part
    return result
