"""Faults in ensembles of decision trees, domain ai.onnx.ml."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.ml import (
    SILENT,
    classes_of,
    fault,
    more_than_two_classes,
    no_rows,
    not_single,
    post_transform,
    row,
    strings_for_no_rows,
)
from onnxla.testing.predicates import When, attribute, has

MIN_OR_MAX = ("MIN", "MAX")


def prefix(case: Case) -> str:
    """What the attributes with votes start with."""
    return "class" if case.op_type == "TreeEnsembleClassifier" else "target"


def votes(case: Case) -> set[tuple[int, int, int]]:
    """Tree, node and target of each vote."""
    names = (f"{prefix(case)}_{what}" for what in ("treeids", "nodeids", "ids"))
    return set(zip(*(case.attributes[name] for name in names), strict=True))


def leaves(case: Case) -> set[tuple[int, int]]:
    """Tree and node of each leaf."""
    columns = (case.attributes[f"nodes_{k}"] for k in ("treeids", "nodeids", "modes"))
    return {(tree, node) for tree, node, mode in zip(*columns, strict=True) if mode == "LEAF"}


@When
def some_leaf_abstains(case: Case) -> bool:
    """Whether a leaf has no vote."""
    return len({(tree, node) for tree, node, _ in votes(case)}) < len(leaves(case))


@When
def some_target_lacks_votes(case: Case) -> bool:
    """Whether a leaf has no vote for some target."""
    a = case.attributes
    targets = classes_of(case) if prefix(case) == "class" else a["n_targets"]
    return len(votes(case)) < len(leaves(case)) * targets


def voted_for(count: int) -> When:
    """Whether so many classes have any vote."""
    return When(lambda case: len({target for *_, target in votes(case)}) == count)


@When
def two_classes(case: Case) -> bool:
    """Whether there are two classes."""
    return classes_of(case) == 2


base_values = has("base_values") | has("base_values_as_tensor")


@When
def has_nan(case: Case) -> bool:
    """Whether X has NaN."""
    x = case.operands[0]
    return bool(x.dtype.kind == "f" and np.isnan(x).any())


@When
def nan_is_unequal(case: Case) -> bool:
    """Whether NaN may be compared for being unequal, and is to be sent the other way."""
    modes = case.attributes["nodes_modes"]
    if not isinstance(modes, list):
        modes = ["BRANCH_NEQ" if m == 5 else "" for m in numpy_helper.to_array(modes)]
    tracks = case.attributes.get("nodes_missing_value_tracks_true", [0] * len(modes))
    unequal = any(m == "BRANCH_NEQ" and not t for m, t in zip(modes, tracks, strict=True))
    return unequal and has_nan(case)


@When
def doubles(case: Case) -> bool:
    """Whether attributes are tensors of doubles."""
    return any(name.endswith("_as_tensor") for name in case.attributes)


LEAF: dict[str, Any] = {
    "nodes_treeids": [0],
    "nodes_nodeids": [0],
    "nodes_modes": ["LEAF"],
    "nodes_featureids": [0],
    "nodes_falsenodeids": [0],
    "nodes_truenodeids": [0],
}


def stump(mode: str, votes: str, **more: Any) -> dict[str, Any]:
    """A tree of one comparison with 0, of whose two leaves the second is for what is true."""
    return {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_modes": [mode, "LEAF", "LEAF"],
        "nodes_featureids": [0, 0, 0],
        "nodes_falsenodeids": [1, 0, 0],
        "nodes_truenodeids": [2, 0, 0],
        "nodes_values": [0.0, 0.0, 0.0],
        f"{votes}_treeids": [0, 0],
        f"{votes}_nodeids": [1, 2],
        f"{votes}_ids": [0, 0],
        f"{votes}_weights": [1.0, 2.0],
        **more,
    }


def leaf(votes: str, ids: list[int], weights: list[float], **more: Any) -> dict[str, Any]:
    """A tree that is a leaf."""
    return {
        **LEAF,
        "nodes_values": [0.0],
        f"{votes}_treeids": [0] * len(ids),
        f"{votes}_nodeids": [0] * len(ids),
        f"{votes}_ids": ids,
        f"{votes}_weights": weights,
        **more,
    }


def of_doubles(votes: str) -> dict[str, Any]:
    """A tree that is a leaf, with tensors of doubles."""
    return {
        **LEAF,
        "nodes_values_as_tensor": np.zeros(1),
        f"{votes}_treeids": [0],
        f"{votes}_nodeids": [0],
        f"{votes}_ids": [0],
        f"{votes}_weights_as_tensor": np.ones(1),
    }


NAN = row(float("nan"))
MISSING = (
    "'use the 'true' (if the attribute value is 1) or 'false' (if the attribute value is 0) branch "
    "based on the value in this array.'"
)
INTEGERS: dict[str, Any] = {"types": {"y0": "tensor(int64)"}, "outputs": 2, "version": 3}
STRINGS: dict[str, Any] = {"types": {"y0": "tensor(string)"}, "outputs": 2, "version": 3}
TWO: dict[str, Any] = {"classlabels_int64s": [5, 7]}
FIRST: dict[str, Any] = {"n_targets": 1}


def either(op_type: str) -> tuple[dict[str, Any], str]:
    """What the examples of a regressor or of a classifier need, and the votes' prefix."""
    if op_type == "TreeEnsembleRegressor":
        return {"version": 3, **FIRST}, "target"
    return {**INTEGERS, "classlabels_int64s": [5, 6, 7]}, "class"


ENSEMBLES: list[Fault] = []
for each in ("TreeEnsembleRegressor", "TreeEnsembleClassifier"):
    _more, _votes = either(each)
    ENSEMBLES += [
        fault(
            "reference",
            each,
            "fails for attributes that are tensors",
            "'All fields ending with _as_tensor can be used instead of the same parameter without "
            "the suffix if the element type is double and not float.'",
            doubles,
            row(1, dtype=np.float64),
            **_more,
            **of_doubles(_votes),
        ),
        fault(
            "reference",
            each,
            "fails for NaN without `nodes_missing_value_tracks_true`",
            "'This attribute may be left undefined and the default value is false (0) for all "
            "nodes.'",
            has_nan & ~has("nodes_missing_value_tracks_true"),
            NAN,
            **_more,
            **stump("BRANCH_LEQ", _votes),
        ),
        fault(
            "onnxruntime",
            each,
            "sends NaN to the true branch of BRANCH_NEQ always",
            MISSING,
            nan_is_unequal,
            NAN,
            **_more,
            **stump("BRANCH_NEQ", _votes),
        ),
        fault(
            "reference",
            each,
            "fails where a row arrives at a leaf without votes",
            "'A leaf may have multiple votes'; the text does not say that it has at least one. "
            "onnxla and ONNX Runtime add nothing.",
            some_leaf_abstains,
            row(1),
            **_more,
            **dict(
                stump("BRANCH_LEQ", _votes),
                **{f"{_votes}_treeids": [0], f"{_votes}_nodeids": [2], f"{_votes}_ids": [0]},
                **{f"{_votes}_weights": [1.0]},
            ),
        ),
    ]

REGRESSORS = [
    fault(
        "reference",
        "TreeEnsembleRegressor",
        "computes in the type of X and returns it",
        "Y is tensor(float).",
        not_single,
        row(1, dtype=np.int64),
        version=3,
        **leaf("target", [0], [0.5], **FIRST),
    ),
    fault(
        "reference",
        "TreeEnsembleRegressor",
        "returns the largest number for the MIN, or the smallest for the MAX, of no votes",
        f"{SILENT} Nothing is added to 0.",
        attribute("aggregate_function", *MIN_OR_MAX) & some_target_lacks_votes,
        row(1),
        version=3,
        **leaf("target", [0], [1.0], n_targets=2, aggregate_function="MIN"),
    ),
    fault(
        "onnxruntime",
        "TreeEnsembleRegressor",
        "does not add the base value of a target without votes",
        "'Base values for regression, added to final prediction after applying aggregate_function'",
        base_values & some_target_lacks_votes,
        row(1),
        version=3,
        **leaf("target", [0], [1.0], n_targets=2, base_values=[0.25, 0.5]),
    ),
    fault(
        "onnxruntime",
        "TreeEnsembleRegressor",
        "does not transform a single target, unless by PROBIT",
        "'Indicates the transform to apply to the score.'",
        attribute("n_targets", 1) & ~post_transform("NONE", "PROBIT"),
        row(1),
        version=3,
        **leaf("target", [0], [1.0], **FIRST, post_transform="LOGISTIC"),
    ),
]

CLASSIFIERS = [
    fault(
        "reference",
        "TreeEnsembleClassifier",
        "returns float64 labels where there are no rows and labels are strings",
        "Y has the type of the labels.",
        strings_for_no_rows,
        np.zeros((0, 1), np.float32),
        **STRINGS,
        **leaf("class", [0, 1], [0.25, 0.5], classlabels_strings=["a", "b"]),
    ),
    fault(
        "reference",
        "TreeEnsembleClassifier",
        "fails where there are no rows and scores are to be transformed",
        "The text excludes no size of an axis.",
        no_rows & ~post_transform("NONE"),
        np.zeros((0, 1), np.float32),
        **INTEGERS,
        **leaf("class", [0, 1], [0.25, 0.5], **TWO, post_transform="LOGISTIC"),
    ),
    fault(
        "reference",
        "TreeEnsembleClassifier",
        "takes votes that are all for one class for votes for the first of two",
        "'The index of the class list that each weight is for.' For two classes the text is silent "
        "on votes for one of them alone: onnxla does what ONNX Runtime does.",
        voted_for(1),
        row(1),
        **INTEGERS,
        **leaf("class", [2], [1.0], classlabels_int64s=[5, 6, 7]),
    ),
    fault(
        "reference",
        "TreeEnsembleClassifier",
        "chooses labels by the scores that SOFTMAX_ZERO has given another order",
        f"{SILENT} The label is that of the best score before the post_transform.",
        post_transform("SOFTMAX_ZERO"),
        row(1),
        **INTEGERS,
        **leaf(
            "class",
            [0, 1],
            [-1.0, -2.0],
            classlabels_int64s=[5, 6, 7],
            post_transform="SOFTMAX_ZERO",
        ),
    ),
    fault(
        "onnxruntime",
        "TreeEnsembleClassifier",
        "answers 1 or 0, by the second score's sign, for two classes that both get votes, and adds "
        "base values to the wrong scores",
        "Y is the 'Top class for each point', and one of the labels.",
        two_classes & voted_for(2),
        row(1),
        **INTEGERS,
        **leaf("class", [0, 1], [0.5, 0.25], **TWO),
    ),
    fault(
        "onnxruntime",
        "TreeEnsembleClassifier",
        "adds base values to the wrong scores of two classes",
        "'Base values for classification, added to final class score; the size must be the same as "
        "the classes'",
        two_classes & base_values,
        row(1),
        **INTEGERS,
        **leaf("class", [1], [0.75], **TWO, base_values=[0.25, 0.5]),
    ),
    fault(
        "onnxruntime",
        "TreeEnsembleClassifier",
        "does not choose a class without votes, whose score of 0 is the best",
        "Y is the 'Top class for each point'.",
        more_than_two_classes & some_target_lacks_votes & ~base_values,
        row(1),
        **INTEGERS,
        **leaf("class", [1], [-1.0], classlabels_int64s=[5, 6, 7]),
    ),
]


# TreeEnsemble


@When
def single_leaves(case: Case) -> bool:
    """Whether both branches of a root are the same leaf, which has another number."""
    a = case.attributes
    return any(
        a["nodes_trueleafs"][root]
        and a["nodes_falseleafs"][root]
        and a["nodes_truenodeids"][root] == a["nodes_falsenodeids"][root] != root
        for root in a["tree_roots"]
    )


@When
def targets_without_leaf(case: Case) -> bool:
    """Whether some targets may get no leaf, and the aggregate is the least or the greatest."""
    a = case.attributes
    return a.get("aggregate_function", 1) in (2, 3) and a["n_targets"] > 1


def sets(case: Case) -> int:
    """How many sets there are."""
    modes = numpy_helper.to_array(case.attributes["nodes_modes"])
    return int((modes == 6).sum())


def members(case: Case) -> np.ndarray:
    """The members of all sets."""
    found = case.attributes.get("membership_values")
    return np.zeros(0) if found is None else numpy_helper.to_array(found)


def ensemble(mode: int, **more: Any) -> dict[str, Any]:
    """A tree of one comparison with 0, of whose two leaves the second is for what is true."""
    return {
        "tree_roots": [0],
        "nodes_falsenodeids": [0],
        "nodes_truenodeids": [1],
        "nodes_falseleafs": [1],
        "nodes_trueleafs": [1],
        "nodes_featureids": [0],
        "nodes_splits": np.zeros(1, np.float32),
        "nodes_modes": np.asarray([mode], np.uint8),
        "leaf_targetids": [0, 0],
        "leaf_weights": np.asarray([1, 2], np.float32),
        "n_targets": 1,
        "version": 5,
        **more,
    }


def applied(*numbers: int) -> When:
    """Whether the scores are transformed in one of some ways."""
    return attribute("post_transform", *numbers, default=0)


FLAT = [
    fault(
        "reference",
        "TreeEnsemble",
        "ignores `post_transform`",
        "'Indicates the transform to apply to the score.'",
        applied(1, 2, 3, 4),
        row(1),
        **ensemble(0, post_transform=2),
    ),
    fault(
        "reference",
        "TreeEnsemble",
        "fails where there are no rows",
        "The text excludes no size of an axis.",
        no_rows,
        np.zeros((0, 1), np.float32),
        **ensemble(0),
    ),
    fault(
        "reference",
        "TreeEnsemble",
        "returns the largest number for the MIN, or the smallest for the MAX, of no leaves",
        f"{SILENT} It is 0.",
        targets_without_leaf,
        row(1),
        **ensemble(0, n_targets=2, aggregate_function=2),
    ),
    fault(
        "reference",
        "TreeEnsemble",
        "takes the number of the root for that of the leaf in a tree that is a leaf",
        "'To represent a tree that is a leaf (only has one node), one can do so by having a single "
        "`nodes_*` entry with true and false branches referencing the same `leaf_*` entry'",
        single_leaves,
        row(1),
        **dict(ensemble(0), nodes_falsenodeids=[1]),
    ),
    fault(
        "reference",
        "TreeEnsemble",
        "ends a set at the member 0",
        "'List all of the members to test again in the order that the 'BRANCH_MEMBER' mode appears "
        "in `node_modes`, delimited by `NaN`s.'",
        lambda case: bool((members(case) == 0).any()),
        row(2),
        **ensemble(6, membership_values=np.asarray([1, 0, 2, np.nan], np.float32)),
    ),
    fault(
        "reference",
        "TreeEnsemble",
        "reads sets in the order in which it descends the trees, true branches first",
        "'List all of the members to test again in the order that the 'BRANCH_MEMBER' mode appears "
        "in `node_modes`, delimited by `NaN`s.'",
        lambda case: sets(case) > 1,
        row(2),
        **ensemble(6)
        | {
            "nodes_falsenodeids": [1, 0, 2],
            "nodes_truenodeids": [2, 1, 3],
            "nodes_falseleafs": [0, 1, 1],
            "nodes_trueleafs": [0, 1, 1],
            "nodes_featureids": [0, 0, 0],
            "nodes_splits": np.zeros(3, np.float32),
            "nodes_modes": np.asarray([0, 6, 6], np.uint8),
            "leaf_targetids": [0, 0, 0, 0],
            "leaf_weights": np.asarray([1, 2, 3, 4], np.float32),
            "membership_values": np.asarray([2, np.nan, 1, np.nan], np.float32),
        },
    ),
    *(
        fault(
            runtime,
            "TreeEnsemble",
            "sends NaN to the true branch of BRANCH_NEQ always",
            "'define whether to follow the true branch (if attribute value is 1) or false branch "
            "(if attribute value is 0) in the presence of a NaN input feature.'",
            nan_is_unequal,
            NAN,
            **ensemble(5),
        )
        for runtime in ("reference", "onnxruntime")
    ),
    fault(
        "onnxruntime",
        "TreeEnsemble",
        "does not transform a single target, unless by PROBIT",
        "'Indicates the transform to apply to the score.'",
        attribute("n_targets", 1) & applied(1, 2, 3),
        row(1),
        **ensemble(0, post_transform=2),
    ),
    fault(
        "onnxruntime",
        "TreeEnsemble",
        "takes 1 for LOGISTIC and 2 for SOFTMAX",
        "'One of 'NONE' (0), 'SOFTMAX' (1), 'LOGISTIC' (2), 'SOFTMAX_ZERO' (3) or 'PROBIT' (4)'",
        applied(1, 2),
        row(1),
        **ensemble(0, n_targets=2, post_transform=2),
    ),
]

FAULTS = [*ENSEMBLES, *REGRESSORS, *CLASSIFIERS, *FLAT]
