"""Ensembles of decision trees, domain ai.onnx.ml: all rows go down all trees at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
EQUAL, UNEQUAL, MEMBER = 4, 5, 6
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


@dataclass(frozen=True)
class Forest:
    """Nodes of trees in one numbering, in which a leaf has itself as both children.

    A row is always on an edge. Edges 2 * i and 2 * i + 1 lead from the i-th node that compares to
    its children; after these, one leads to the root of each tree. So one addition is a step.

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

    @cached_property
    def inner(self) -> np.ndarray:
        """Whether each node compares."""
        inner: np.ndarray = self.children[0] != np.arange(len(self.feature))
        return inner

    @cached_property
    def ends(self) -> np.ndarray:
        """The node to which each edge leads."""
        return np.concatenate([self.children[:, self.inner].T.reshape(-1), self.roots])

    @cached_property
    def levels(self) -> tuple[int, np.ndarray]:
        """The greatest number of comparisons on a path, and a tree to which each node belongs.

        Raises:
            ModelError: A path is a circle.
        """
        count = len(self.feature)
        tree, front, seen = np.full(count, -1), self.roots, 0
        tree[front] = np.arange(len(front))
        for depth in range(count + 1):
            front = front[self.inner[front]]
            if not front.size:
                return depth, tree
            seen += front.size
            tree[self.children[:, front]] = tree[front]
            front = self.children[:, front].reshape(-1)
            if seen > count:  # nodes have several parents
                front = np.unique(front)
        raise ModelError("the nodes of a tree form a circle")

    @property
    def apart(self) -> bool:
        """Whether no node belongs to two trees."""
        _, tree = self.levels
        alone = tree[self.roots] == np.arange(len(self.roots))
        return bool(alone.all() and (tree[self.children] == tree).all())

    def arrivals(self, x: Value) -> Value:
        """The edge on which each row of x [N, F] comes to a leaf of each tree; [trees, N]."""
        used = self.feature[self.inner]
        if used.size and not 0 <= used.min() <= used.max() < x.shape[1]:
            raise ModelError(f"features {used.min()} to {used.max()} of {x.shape[1]} are compared")
        modes = np.unique(self.mode[self.inner])
        if not modes.size or modes[0] > EQUAL:
            modes = np.insert(modes, 0, EQUAL)
        compares, edges = self.inner[self.ends], np.arange(len(self.ends), dtype=np.int32)

        def table(values: np.ndarray, of_leaf: Any) -> Any:
            return np.where(compares, values[self.ends], of_leaf)

        # Who comes to a leaf stays on the edge: NaN is neither equal to anything, nor less or more.
        onward = table(2 * np.cumsum(self.inner) - 2, edges).astype(np.int32)
        split = table(self.split, np.nan).astype(x.dtype)
        feature = table(self.feature, 0).astype(np.int32)
        mode, tracks = table(self.mode, modes[0]), table(self.tracks_true, False)
        slot = table(np.cumsum(self.mode == MEMBER) - 1, 0).clip(0).astype(np.int32)
        members = self.members.astype(x.dtype)
        columns = lax.stop_gradient(jnp.asarray(x)).T

        def holds(code: int, value: Value, edge: Value) -> Value:
            if code == MEMBER:
                return (value[..., None] == at(members, at(slot, edge))).any(-1)
            return COMPARISONS[code](value, at(split, edge))

        def step(_: int, edge: Value) -> Value:
            value = jnp.take_along_axis(columns, at(feature, edge), 0, mode="promise_in_bounds")
            true = holds(modes[0], value, edge)
            for code in modes[1:]:
                true = jnp.where(at(mode, edge) == code, holds(code, value, edge), true)
            if tracks.any() or UNEQUAL in modes:  # of NaN, all other comparisons are false
                true = jnp.where(jnp.isnan(value), at(tracks, edge), true)
            return at(onward, edge) + true.astype(np.int32)

        roots = edges[len(edges) - len(self.roots) :, None]
        start = jnp.broadcast_to(jnp.asarray(roots), (len(roots), x.shape[0]))
        return lax.fori_loop(0, self.levels[0], step, start)


def at(table: np.ndarray, places: Value) -> Value:
    """The entries of a table at places that it has."""
    get = jnp.asarray(table).at[places].get
    return get(mode="promise_in_bounds", wrap_negative_indices=False)


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
    # A boosted tree votes for one target; its leaves have a row in the table for that alone.
    (_, tree), shape = forest.levels, (n, len(forest.roots))
    votes = np.full(check_size(shape, np.int64, "the trees' targets"), not forest.apart)
    votes[target, tree[node]] = True
    row = np.cumsum(votes, 0) - 1
    shape = (int(row.max(initial=-1)) + 2, len(forest.feature))
    table = np.full(check_size(shape, x.dtype, "the votes of all nodes"), nothing, x.dtype)
    combine.at(table, (row[target, tree[node]], node), weight.astype(x.dtype))
    table = table[:, forest.ends]
    # For each target, the trees that vote for it; filled up with what is in the last row, nothing.
    targets, trees = np.nonzero(votes)
    counts = votes.sum(1)
    voter = np.zeros((n, counts.max(initial=1)), np.int32)
    start = np.full(voter.shape, table.size - table.shape[1])
    rank = np.arange(len(targets)) - np.repeat(np.cumsum(counts) - counts, counts)
    voter[targets, rank], start[targets, rank] = trees, row[votes] * table.shape[1]
    start = start.astype(np.result_type(np.int32, np.min_scalar_type(-table.size)))[..., None]
    place = at(forest.arrivals(x), voter).astype(start.dtype) + start
    scores = reduce(at(table.reshape(-1), place), 1).T
    if how == "AVERAGE":
        scores = scores / len(forest.roots)
    return jnp.where(scores == nothing, 0, scores) if nothing else scores


class Names:
    """The nodes of trees by name: a tree and a number in it.

    Raises:
        ModelError: A name occurs twice.
    """

    def __init__(self, tree: np.ndarray, number: np.ndarray) -> None:
        self.trees, self.numbers = np.unique(tree), np.unique(number)
        keys, _ = self.keys(tree, number)
        self.order = np.argsort(keys, kind="stable")  # which is fast where they are in order
        self.sorted = keys[self.order]
        if (self.sorted[1:] == self.sorted[:-1]).any():
            raise ModelError("a node's number occurs twice in a tree")

    def keys(self, tree: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One number for each name, and whether there are such a tree and such a number."""
        trees, is_tree = ranks(self.trees, tree)
        numbers, is_number = ranks(self.numbers, number)
        return trees * len(self.numbers) + numbers, is_tree & is_number

    def find(self, tree: Any, number: Any) -> np.ndarray:
        """The positions of nodes. Raises: ModelError if one does not exist."""
        tree, number = np.asarray(tree, np.int64), np.asarray(number, np.int64)
        if len(tree) != len(number):
            raise ModelError(f"nodes are named by {len(tree)} trees and {len(number)} numbers")
        keys, known = self.keys(tree, number)
        place, found = ranks(self.sorted, keys)
        if not (known & found).all():
            first = np.argmin(known & found)
            raise ModelError(
                f"a tree's node does not exist: {(int(tree[first]), int(number[first]))}"
            )
        return np.take(self.order, place)


def ranks(known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of values in what is known, in order; and whether each is there."""
    place = np.searchsorted(known, values).clip(max=len(known) - 1)
    return place, known[place] == values


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

    def forest(self) -> tuple[Forest, Names]:
        """The forest, and the names of its nodes."""
        count, modes = len(self.nodes_treeids or ()), self.nodes_modes or ()
        tracks_true = self.nodes_missing_value_tracks_true or (0,) * count
        splits = numbers(self.nodes_values, self.nodes_values_as_tensor)
        names = self.nodes_treeids, self.nodes_nodeids, self.nodes_truenodeids
        others = self.nodes_falsenodeids, self.nodes_featureids, splits, tracks_true
        columns = [np.asarray(() if c is None else c) for c in (*names, *others)]
        if not count or {len(modes), *map(len, columns)} != {count}:
            raise ModelError("the attributes nodes_* have different lengths, or none")
        codes = {"LEAF": -1, **{mode: code for code, mode in enumerate(MODES[:MEMBER])}}
        if unknown := set(modes).difference(codes):
            raise ModelError(f"nodes_modes has {sorted(unknown)}")
        owner, number, true, false, feature, split, tracks = columns
        known = Names(owner, number)
        code = np.fromiter(map(codes.__getitem__, modes), np.int8, count)
        inner, children = code >= 0, np.tile(np.arange(count), (2, 1))
        for row, column in zip(children, (false, true), strict=True):
            row[inner] = known.find(owner[inner], column[inner])
        if (children[0] == np.arange(count))[inner].any():
            raise ModelError("the nodes of a tree form a circle")
        is_child = np.zeros(count, bool)
        is_child[children[:, inner]] = True
        roots = np.flatnonzero(~is_child)
        if not np.array_equal(np.sort(owner[roots]), known.trees):
            raise ModelError("a tree must have one node that is no child")
        mode, members = np.maximum(code, 0), np.zeros((1, 1))
        return Forest(mode, feature, split, tracks.astype(bool), children, roots, members), known


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
    forest, names = trees.forest()
    n = 1 if n_targets is None else n_targets
    leaves = names.find(target_treeids or (), target_nodeids or ())
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
    forest, nodes = trees.forest()
    weights = numbers(class_weights, class_weights_as_tensor)
    leaves, voted = nodes.find(class_treeids or (), class_nodeids or ()), set(class_ids or ())
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
