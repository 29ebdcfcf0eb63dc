"""Faults in classical machine learning, domain ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import (
    When,
    always,
    attribute,
    dtype,
    empty,
    has,
    operands,
    rank,
    size,
    some,
    version,
)
from onnxla.testing.types import Typed
from onnxla.testing.use import example as case_of

DOMAIN = "ai.onnx.ml"
SILENT = "The text does not say; onnxla does what ONNX Runtime does."


def fault(
    runtime: str,
    op_type: str,
    what: str,
    text: str,
    when: Callable[[Case], bool],
    *inputs: Any,
    version: int = 1,
    outputs: int = 1,
    types: dict[str, str] | None = None,
    rank: int = 2,
    **attributes: Any,
) -> Fault:
    """A fault in this domain, and the example of it."""

    def example() -> Case:
        return case_of(
            op_type,
            version,
            *inputs,
            domain=DOMAIN,
            outputs=outputs,
            types=types,
            ranks={"y0": 1, "y1": 2} if outputs == 2 else {"y0": rank},
            **{
                k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v
                for k, v in attributes.items()
            },
        )

    return Fault(runtime, op_type, what, text, when, example, DOMAIN)


def row(*values: float, dtype: Any = np.float32) -> np.ndarray:
    """A matrix of one row."""
    return np.asarray([values], dtype)


# Whether X is not of single precision, which is what the output is in.
not_single = ~dtype(np.float32)
# Whether X has no rows.
no_rows = size(0, 0)


def post_transform(*names: str) -> When:
    """Whether scores are transformed in one of some ways."""
    return attribute("post_transform", *names, default="NONE")


# Features


@When
def vectors_among_the_inputs(case: Case) -> bool:
    """Whether an input is a vector that is not the same as a row and as a column."""
    return any(x.ndim == 1 and x.shape != (1,) for x in case.operands)


@When
def axes_differ(case: Case) -> bool:
    """Whether the features are not along axis 1, and have a value each."""
    values = [v for k, v in case.attributes.items() if k.startswith("imputed_value")]
    shape = case.operands[0].shape
    return len(shape) > 2 and len(values[0]) > 1 and shape[1] != shape[-1]


@When
def largest_is_not_largest_magnitude(case: Case) -> bool:
    """Whether a row's maximum is not the maximum of its magnitudes."""
    x = case.operands[0]
    if case.attributes.get("norm", "MAX") != "MAX":
        return False
    return bool((x.max(-1) != abs(x).max(-1)).any())


@When
def has_fractions(case: Case) -> bool:
    """Whether X has elements that are no integers."""
    x = case.operands[0]
    return bool(x.dtype.kind == "f" and (x != np.trunc(x)).any())


@When
def repeats_a_key(case: Case) -> bool:
    """Whether two keys are the same."""
    found: Any = next((v for k, v in case.attributes.items() if k.startswith("keys_")), [])
    keys = numpy_helper.to_array(found).tolist() if isinstance(found, TensorProto) else found
    return len(set(keys)) < len(keys)


@When
def leaves_integers(case: Case) -> bool:
    """Whether X has integers of which sums of squares may leave their type."""
    x = case.operands[0]
    if x.dtype.kind not in "iu":
        return False
    return bool(np.square(x.astype(np.float64)).sum() > np.iinfo(x.dtype).max)


@When
def beyond_single(case: Case) -> bool:
    """Whether X has numbers in double precision that are out of range of single."""
    x, single = np.abs(case.operands[0]), np.finfo(np.float32)
    out = (x > single.max) | ((x > 0) & (x < single.smallest_normal))
    return x.dtype == np.float64 and bool(out.any())


FEATURES = [
    fault(
        "onnxruntime",
        "Binarizer",
        "fails for NaN",
        "'Values greater than this are mapped to 1, others to 0.'",
        some(np.isnan),
        row(float("nan")),
    ),
    fault(
        "reference",
        "FeatureVectorizer",
        "fails without `inputdimensions`",
        "The attribute is not required.",
        ~has("inputdimensions"),
        row(1),
    ),
    fault(
        "reference",
        "FeatureVectorizer",
        "takes a vector for a column",
        "'1-D tensors are treated as [1,C].'",
        vectors_among_the_inputs,
        np.asarray([1, 2], np.float32),
        inputdimensions=[2],
    ),
    fault(
        "reference",
        "FeatureVectorizer",
        "returns the type of the inputs",
        "'the output will be all floating point values', Y is tensor(float).",
        not_single,
        row(1, dtype=np.int64),
        inputdimensions=[1],
    ),
    fault(
        "onnxruntime",
        "FeatureVectorizer",
        "aborts for several inputs without rows",
        "The text excludes no size of an axis.",
        no_rows & operands(2),
        np.zeros((0, 1), np.float32),
        np.zeros((0, 1), np.float32),
        inputdimensions=[1, 1],
    ),
    fault(
        "reference",
        "Imputer",
        "fails unless X is a matrix",
        "'if the input tensor has the shape [*,F], then the length of the attribute array may be "
        "1 or F'",
        ~rank(2),
        np.asarray([1], np.float32),
        rank=1,
        imputed_value_floats=[2.0],
    ),
    fault(
        "onnxruntime",
        "Imputer",
        "takes axis 1 for that of the features in tensors of rank 3 and more",
        "'if the input tensor has the shape [*,F], then the length of the attribute array may be "
        "1 or F'",
        axes_differ,
        np.zeros((1, 1, 2), np.float32),
        rank=3,
        imputed_value_floats=[1.0, 2.0],
    ),
    fault(
        "reference",
        "Normalizer",
        "divides by the largest magnitude for `norm` MAX",
        "'Max: Y = X / max(X)'",
        largest_is_not_largest_magnitude,
        row(-1),
        norm="MAX",
    ),
    fault(
        "reference",
        "Normalizer",
        "fails for a vector",
        "'a tensor of shape [N,C] or [C]'",
        ~rank(2),
        np.asarray([1], np.float32),
        rank=1,
    ),
    fault(
        "reference",
        "Normalizer",
        "fails where there are no rows",
        "The text excludes no size of an axis.",
        no_rows,
        np.zeros((0, 1), np.float32),
    ),
    fault(
        "reference",
        "Normalizer",
        "computes in the type of X, which fails for integers if `norm` is L2, and returns it",
        "Y is tensor(float).",
        not_single,
        row(1, dtype=np.int64),
        norm="L2",
    ),
    fault(
        "onnxruntime",
        "Normalizer",
        "wraps sums of integers",
        "'L1: Y = X / sum(X), L2: Y = sqrt(X^2 / sum(X^2))', and Y is tensor(float).",
        leaves_integers,
        row(-(2**63), dtype=np.int64),
        norm="L1",
    ),
    fault(
        "onnxruntime",
        "Normalizer",
        "rounds double precision to single before it divides",
        "X may be tensor(double), of which 'Max: Y = X / max(X)' is in range of single precision.",
        beyond_single,
        row(1e-300, dtype=np.float64),
        norm="MAX",
    ),
    fault(
        "onnxruntime",
        "Normalizer",
        "passes over NaN and minus infinity when it looks for the maximum",
        "The text is silent on NaN. onnxla takes it for the maximum, as its other operators do. "
        "And where 'Max: Y = X / max(X)' is -inf / -inf, it is NaN.",
        some(np.isnan) | some(np.isneginf),
        np.asarray([[0, np.nan]], np.float32),
        norm="MAX",
    ),
    fault(
        "reference",
        "Scaler",
        "fails unless it has both `offset` and `scale`",
        "Neither attribute is required.",
        lambda case: len(case.attributes) < 2,
        row(1),
        offset=[1.0],
    ),
    fault(
        "reference",
        "Scaler",
        "returns the type of X",
        "Y is tensor(float).",
        not_single,
        row(1, dtype=np.int64),
        offset=[0.5],
        scale=[0.5],
    ),
    fault(
        "reference",
        "OneHotEncoder",
        "fails unless X has rank 1 or 2",
        "'Encoded output data, having one more dimension than X.'",
        ~rank(1, 2),
        np.asarray(1, np.float32),
        rank=1,
        cats_int64s=[1],
    ),
    fault(
        "reference",
        "OneHotEncoder",
        "finds no category of a number with a fraction",
        "'If the input is a tensor of float, int32, or double, the data will be cast to integers'",
        has_fractions,
        np.asarray([1.5], np.float32),
        cats_int64s=[1],
    ),
    fault(
        "reference",
        "OneHotEncoder",
        "fails for an empty X if `zeros` is 0",
        "'if false and a category if not found, the operator will fail'; here none is not found.",
        empty() & attribute("zeros", 0),
        np.zeros(0, np.float32),
        cats_int64s=[1],
        zeros=0,
    ),
]


# Labels and maps


@When
def nan_is_a_key(case: Case) -> bool:
    """Whether NaN is a key that occurs in X."""
    x = case.operands[0]
    keys = case.attributes.get("keys_floats", case.attributes.get("keys_tensor"))
    if x.dtype.kind != "f" or keys is None:
        return False
    if not isinstance(keys, list):
        keys = numpy_helper.to_array(keys)
    return bool(np.isnan(keys).any() and np.isnan(x).any())


def key_and_value(case: Case) -> tuple[int, int]:
    """Numbers of the types of the keys and values of the map that is fed."""
    kind = case.proto.graph.input[0].type.map_type
    return kind.key_type, kind.value_type.tensor_type.elem_type


def map_of(*kinds: int) -> When:
    """Whether the map that is fed has values of one of some types."""
    return When(lambda case: key_and_value(case)[1] in kinds)


FLOAT, INT64, STRING, DOUBLE = 1, 7, 8, 11

LABELS = [
    fault(
        "reference",
        "LabelEncoder",
        "lacks version 1",
        "Version 1 has the attribute `classes_strings` instead of keys and values.",
        version(1),
        np.zeros(1, np.int64),
        types={"y0": "tensor(string)"},
        rank=1,
        classes_strings=["a"],
    ),
    fault(
        "onnxruntime",
        "LabelEncoder",
        "takes the first of equal keys at version 4",
        "'If a key is repeated, the last key takes precedence.'",
        version(4) & repeats_a_key,
        np.asarray([1], np.int64),
        version=4,
        types={"y0": "tensor(int64)"},
        rank=1,
        keys_int64s=[1, 1],
        values_int64s=[2, 3],
    ),
    fault(
        "reference",
        "LabelEncoder",
        "fails if there is `values_tensor` without `default_tensor`",
        '\'A default tensor. {"_Unused"} if values_* has string type, {-1} if values_* has '
        "integral type, and {-0.f} if values_* has float type.'",
        has("values_tensor") & ~has("default_tensor"),
        np.zeros(1, np.int64),
        version=4,
        types={"y0": "tensor(int64)"},
        rank=1,
        keys_int64s=[0],
        values_tensor=np.zeros(1, np.int64),
    ),
    fault(
        "reference",
        "LabelEncoder",
        "does not find NaN among the keys",
        "Version 2: 'bit-wise comparison is used so even a float NaN can be mapped'; version 4: "
        "'Float keys with value 'NaN' match any input 'NaN' value regardless of bit value.'",
        nan_is_a_key,
        np.asarray([np.nan], np.float32),
        version=2,
        types={"y0": "tensor(int64)"},
        rank=1,
        keys_floats=[np.nan],
        values_int64s=[5],
    ),
    fault(
        "onnxruntime",
        "LabelEncoder",
        "does not find NaN among the keys at version 2",
        "'For key look-up, bit-wise comparison is used so even a float NaN can be mapped'",
        version(2) & nan_is_a_key,
        np.asarray([np.nan], np.float32),
        version=2,
        types={"y0": "tensor(int64)"},
        rank=1,
        keys_floats=[np.nan],
        values_int64s=[5],
    ),
    fault(
        "onnxruntime",
        "CastMap",
        "has a Python interface that takes no map from integers to strings",
        "'map(int64, string)' is one of the types of X.",
        map_of(STRING),
        Typed("map(int64, string)", {0: "1"}),
        types={"y0": "tensor(float)"},
    ),
    fault(
        "onnxruntime",
        "CastMap",
        "writes numbers with six decimals and a dot, and absent ones as `0.f`",
        "The text does not say how a number is written. onnxla writes as few digits as tell it "
        "apart, and 0 for absent ones.",
        map_of(FLOAT) & attribute("cast_to", "TO_STRING"),
        Typed("map(int64, float)", {0: 1.0}),
        types={"y0": "tensor(string)"},
        cast_to="TO_STRING",
    ),
    fault(
        "onnxruntime",
        "DictVectorizer",
        "has a Python interface that takes maps to floats alone",
        "'map(int64, double)', 'map(int64, string)', 'map(string, double)' and 'map(string, "
        "int64)' are types of X as well.",
        map_of(STRING, INT64, DOUBLE),
        Typed("map(string, int64)", {"a": 1}),
        types={"y0": "tensor(int64)"},
        string_vocabulary=["a"],
    ),
    fault(
        "reference",
        "DictVectorizer",
        "returns float64 for a map to floats",
        "T2 lists tensor(float), the type of the values.",
        map_of(FLOAT),
        Typed("map(string, float)", {"a": 1.0}),
        types={"y0": "tensor(float)"},
        string_vocabulary=["a"],
    ),
    fault(
        "reference",
        "DictVectorizer",
        "returns a vector",
        "The text has 'the output 1-D tensor', but ONNX Runtime, for whose models the operator is, "
        "returns a matrix of one row, as CastMap does; so does onnxla.",
        always,
        Typed("map(string, int64)", {"a": 1}),
        types={"y0": "tensor(int64)"},
        string_vocabulary=["a"],
    ),
]


# Linear models


def classes_of(case: Case) -> int:
    """The number of classes."""
    names = [v for k, v in case.attributes.items() if k.startswith("classlabels")]
    return len(names[0])


@When
def single_row(case: Case) -> bool:
    """Whether two classes share one row of coefficients."""
    features = case.operands[0].shape[-1]
    return classes_of(case) == 2 and len(case.attributes["coefficients"]) == features


@When
def order_changes(case: Case) -> bool:
    """Whether scores may have another order once transformed: a 0 stays, or all round to 1."""
    x = case.operands[0].astype(np.float64)
    weights = np.reshape(case.attributes["coefficients"], (-1, x.shape[1]))
    scores = x @ weights.T + np.asarray(case.attributes.get("intercepts", 0.0))
    if post_transform("SOFTMAX_ZERO")(case):
        return bool((abs(scores) < 1e-6).any())
    return post_transform("LOGISTIC")(case) and bool((scores > 14).any())


# Whether there are no labels, which were strings.
strings_for_no_rows = no_rows & has("classlabels_strings")


INTEGERS: dict[str, Any] = {"types": {"y0": "tensor(int64)"}, "outputs": 2}
STRINGS: dict[str, Any] = {"types": {"y0": "tensor(string)"}, "outputs": 2}
LABELS_BY_TRANSFORMED = (
    "chooses labels by the transformed scores",
    "The text does not say whether the label is that of the best score before the post_transform. "
    "onnxla does what ONNX Runtime does: the transforms may change the order of scores "
    "(SOFTMAX_ZERO) or round them to the same (LOGISTIC).",
)

LINEAR = [
    fault(
        "reference",
        "LinearRegressor",
        "computes in the type of X, which truncates coefficients for integers, and returns it",
        "Y is tensor(float).",
        not_single,
        row(2, dtype=np.int64),
        coefficients=[0.5],
        intercepts=[0.0],
    ),
    *(
        fault(
            "reference",
            op_type,
            "takes absent `intercepts` for NaN",
            "The attribute is not required. LinearRegressor: 'Weights of the intercepts, if used.'",
            ~has("intercepts"),
            row(1),
            coefficients=[1.0, 2.0][:count],
            **more,
        )
        for op_type, count, more in (
            ("LinearRegressor", 1, {}),
            ("LinearClassifier", 2, {**INTEGERS, "classlabels_ints": [0, 1]}),
        )
    ),
    fault(
        "onnxruntime",
        "LinearClassifier",
        "writes one of the two scores of classes that share one row of coefficients, with PROBIT",
        "Z has 'Classification scores ([N,E] - one score for each class and example'.",
        single_row & post_transform("PROBIT"),
        row(1),
        **INTEGERS,
        classlabels_ints=[0, 1],
        coefficients=[0.125],
        intercepts=[0.0],
        post_transform="PROBIT",
    ),
    fault(
        "onnxruntime",
        "LinearRegressor",
        "does not transform a single target",
        "'Indicates the transform to apply to the regression output vector.'",
        attribute("targets", 1, default=1) & ~post_transform("NONE"),
        row(1),
        coefficients=[1.0],
        post_transform="LOGISTIC",
    ),
    fault(
        "reference",
        "LinearClassifier",
        "returns float64 scores for such an X",
        "Z is tensor(float).",
        dtype(np.float64),
        row(1, dtype=np.float64),
        **INTEGERS,
        classlabels_ints=[0, 1],
        coefficients=[1.0, 2.0],
        intercepts=[0.0, 0.0],
    ),
    fault(
        "reference",
        "LinearClassifier",
        "returns float64 labels where there are no rows and labels are strings",
        "Y has the type of the labels.",
        strings_for_no_rows,
        np.zeros((0, 1), np.float32),
        **STRINGS,
        classlabels_strings=["a", "b"],
        coefficients=[1.0, 2.0],
        intercepts=[0.0, 0.0],
    ),
    fault(
        "reference",
        "LinearClassifier",
        "has other scores of two classes that share one row of coefficients",
        f"{SILENT} It has 1 - s for the first class, and no softmax.",
        single_row & ~post_transform("LOGISTIC"),
        row(1),
        **INTEGERS,
        classlabels_ints=[0, 1],
        coefficients=[2.0],
        intercepts=[0.0],
    ),
    fault(
        "reference",
        "LinearClassifier",
        *LABELS_BY_TRANSFORMED,
        order_changes,
        row(1),
        **INTEGERS,
        classlabels_ints=[0, 1],
        coefficients=[20.0, 30.0],
        intercepts=[0.0, 0.0],
        post_transform="LOGISTIC",
    ),
]


# Support vector machines


@When
def one_rho(case: Case) -> bool:
    """Whether `rho` has one element: for two classes, or without support vectors."""
    return len(case.attributes["rho"]) == 1


@When
def decides_by_sign(case: Case) -> bool:
    """Whether the reference evaluator has labels of its own: of two classes, or none."""
    return one_rho(case) and (
        classes_of(case) > 2
        or two_linear_classes(case)
        or min(case.attributes["coefficients"]) >= 0
    )


@When
def two_linear_classes(case: Case) -> bool:
    """Whether there are two classes and no support vectors."""
    return classes_of(case) == 2 and "vectors_per_class" not in case.attributes


@When
def more_than_two_classes(case: Case) -> bool:
    """Whether there are three classes or more."""
    return classes_of(case) > 2


@When
def one_decision(case: Case) -> bool:
    """Whether two classes have the sign of one decision, and no probabilities."""
    return (
        classes_of(case) == 2
        and "vectors_per_class" in case.attributes
        and "prob_a" not in case.attributes
    )


VECTORS: dict[str, Any] = {"kernel_params": [0.0, 0.0, 0.0], "kernel_type": "LINEAR", "rho": [0.0]}
TWO: dict[str, Any] = {
    **VECTORS,
    "classlabels_ints": [5, 7],
    "support_vectors": [1.0, 2.0],
    "vectors_per_class": [1, 1],
}
LINEAR_TWO: dict[str, Any] = {**VECTORS, "classlabels_ints": [5, 7]}

MACHINES = [
    fault(
        "reference",
        "SVMRegressor",
        "computes in the type of X and returns it",
        "Y is tensor(float).",
        not_single,
        row(1, dtype=np.int64),
        coefficients=[0.5],
        rho=[0.0],
    ),
    fault(
        "onnxruntime",
        "SVMRegressor",
        "ignores `post_transform`",
        "'Indicates the transform to apply to the score.'",
        ~post_transform("NONE"),
        row(1),
        coefficients=[0.5],
        kernel_params=[0.0, 0.0, 0.0],
        rho=[0.0],
        post_transform="LOGISTIC",
    ),
    fault(
        "reference",
        "SVMClassifier",
        "computes in the type of X and returns scores in it",
        "Z is tensor(float).",
        not_single,
        row(1, dtype=np.int64),
        **INTEGERS,
        **TWO,
        coefficients=[0.5, -0.25],
    ),
    fault(
        "reference",
        "SVMClassifier",
        "fails where there are no rows",
        "The text excludes no size of an axis.",
        no_rows,
        np.zeros((0, 1), np.float32),
        **INTEGERS,
        **TWO,
        coefficients=[0.5, -0.25],
    ),
    fault(
        "reference",
        "SVMClassifier",
        "fails for labels that are strings if `rho` has one element",
        "'Class labels if using string labels.'",
        one_rho & has("classlabels_strings"),
        row(1),
        **STRINGS,
        **VECTORS,
        classlabels_strings=["a", "b"],
        coefficients=[0.5, -0.25],
    ),
    fault(
        "reference",
        "SVMClassifier",
        "answers the second of two classes, or 1 or 0, instead of the best one if `rho` has one "
        "element and there are no support vectors or no negative coefficients",
        "Y is 'Classification outputs (one class per example)'.",
        decides_by_sign,
        row(1),
        **INTEGERS,
        **LINEAR_TWO,
        coefficients=[2.0, 1.0],
    ),
    fault(
        "onnxruntime",
        "SVMClassifier",
        "answers the second of two classes without support vectors if the best score is positive, "
        "whichever that is",
        "Y is 'Classification outputs (one class per example)'.",
        two_linear_classes,
        row(1),
        **INTEGERS,
        **LINEAR_TWO,
        coefficients=[2.0, -1.0],
    ),
    fault(
        "reference",
        "SVMClassifier",
        "has other scores of two classes that are transformed",
        f"{SILENT} It has 1 - s for the first class, and no softmax.",
        one_decision & ~post_transform("NONE", "LOGISTIC"),
        row(1),
        **INTEGERS,
        **TWO,
        coefficients=[0.5, -1.0],
        post_transform="SOFTMAX",
    ),
    fault(
        "reference",
        "SVMClassifier",
        "has other probabilities of three and more classes",
        "The text does not say. onnxla and ONNX Runtime couple those of pairs as LIBSVM does, but "
        "the reference evaluator takes a scalar product for one of elements. onnxla solves the "
        "equations exactly, as of Wu, Lin and Weng (2004); ONNX Runtime iterates as LIBSVM does, "
        "up to a tolerance of 0.005 / C for C classes, so that its probabilities are off by up to "
        "about 0.003.",
        has("prob_a") & more_than_two_classes,
        row(1),
        **INTEGERS,
        **dict(VECTORS, rho=[0.5, 0.0, -1.0]),
        classlabels_ints=[5, 6, 7],
        support_vectors=[1.0, 2.0, -1.0],
        vectors_per_class=[1, 1, 1],
        coefficients=[1.0, -2.0, 0.5, 1.0, -1.0, 2.0],
        prob_a=[-1.0, -2.0, 1.0],
        prob_b=[0.0, 0.5, 0.25],
    ),
]


FAULTS = [*FEATURES, *LABELS, *LINEAR, *MACHINES]
