from typing import Any

import numpy as np
from onnx import numpy_helper

from support.samples import Sample, f32, i64

DOMAIN = "ai.onnx.ml"
X = f32(4, 3)
NAN = float("nan")


def ml(op: str, *inputs: Any, outputs: Any = 1, **options: Any) -> Sample:
    known = {"versions", "grad", "expected", "rtol", "atol"}
    arguments = {k: options.pop(k) for k in known.intersection(options)}
    return Sample(op, inputs, options, outputs, domain=DOMAIN, **arguments)


def text(*words: object) -> np.ndarray:
    return np.asarray(words, object)


def tensor(*values: Any, dtype: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype))


VECTORS = [1.0, 0, 1, 0.5, 0.5, 0, -1, 1, 1, 0, -1, 0.3]
KERNEL = {"support_vectors": VECTORS, "kernel_params": [0.5, 0.2, 2.0], "rho": [0.1, -0.2, 0.3]}
TWO = {"classlabels_ints": [7, 9], "vectors_per_class": [2, 2], "coefficients": [0.5, 1, -0.4, -1]}
THREE = {
    "classlabels_ints": [7, 8, 9],
    "vectors_per_class": [1, 1, 2],
    "coefficients": [0.5, 0.7, -0.4, -0.8, 0.3, -0.2, 0.6, -0.1],
}
PROBABLE = {"prob_a": [-1.2, -0.9, -1.5], "prob_b": [0.1, 0.2, -0.1]}


def decisions(x: np.ndarray) -> np.ndarray:
    """What a support vector machine decides for the pairs of three classes."""
    distances = x[:, None] - np.float32(VECTORS).reshape(4, 3)
    kernel = np.exp(-0.5 * (distances**2).sum(-1))
    first, second = np.float32(THREE["coefficients"]).reshape(2, 4)
    pairs = ([first[0], first[1], 0, 0], [second[0], 0, *first[2:]], [0, second[1], *second[2:]])
    return (kernel @ np.float32(pairs).T + np.float32(KERNEL["rho"])).astype(np.float32)


SAMPLES = [
    ml("ArrayFeatureExtractor", X, i64(2, 0, 2), grad=(0,)),
    ml("ArrayFeatureExtractor", X[0], i64([[2, 0]])),
    ml("ArrayFeatureExtractor", f32(2, 3, 4), i64([[1, 0], [0, 3]])),
    ml("ArrayFeatureExtractor", text(["a", "b"], ["c", "d"]), i64(1)),
    *(ml("Binarizer", x, threshold=0.4, grad=(0,)) for x in (X, X.astype(np.float64))),
    ml("CategoryMapper", text("a", "z", "b"), cats_int64s=[5, 3], cats_strings=["a", "b"]),
    ml("CategoryMapper", i64(3, 4, 5), cats_int64s=[5, 3], cats_strings=["a", "b"]),
    ml("FeatureVectorizer", X, X[:, :2], inputdimensions=[3, 2], grad=(0, 1)),
    ml("FeatureVectorizer", i64(1, 2), i64(3), inputdimensions=[2, 1]),
    ml(
        "Imputer",
        np.asarray([[1, NAN, 2], [NAN, 3, NAN]], np.float32),
        replaced_value_float=NAN,
        imputed_value_floats=[4.0, 5.0, 6.0],
    ),
    ml("Imputer", X, replaced_value_float=float(X[1, 1]), imputed_value_floats=[7.0]),
    ml("Imputer", X, replaced_value_float=9.0, imputed_value_floats=[7.0], grad=(0,)),
    ml("Imputer", i64([1, -1], [-1, 2]), replaced_value_int64=-1, imputed_value_int64s=[8]),
    *(ml("Normalizer", x, norm=n, grad=(0,)) for n in ("MAX", "L1", "L2") for x in (X, X[0])),
    ml("Normalizer", i64([1, -2], [0, 0]), norm="L2"),
    ml(
        "OneHotEncoder",
        np.asarray([[1, 2.7], [9, 3]], np.float32),
        cats_int64s=[1, 2, 3],
    ),
    ml("OneHotEncoder", text("b", "a"), cats_strings=["a", "b", "c"], zeros=0),
    ml("Scaler", X, offset=[1.0, 2.0, -1.0], scale=[2.0, 3.0, 0.5], grad=(0,)),
    ml("Scaler", i64([1, -2], [0, 3]), offset=[1.0], scale=[0.5]),
    # Labels
    ml("LabelEncoder", text("a", "z", "b"), classes_strings=["a", "b"], versions=(1,)),
    ml("LabelEncoder", i64(1, 5, 0), classes_strings=["a", "b"], versions=(1,)),
    *(
        ml("LabelEncoder", x, versions=(2, 4), **attributes)
        for x, attributes in (
            (text(["a"], ["z"]), {"keys_strings": ["a", "b"], "values_floats": [0.5, 1.5]}),
            (i64(3, 1, 2), {"keys_int64s": [1, 3], "values_int64s": [5, 6], "default_int64": 9}),
            (i64(3, 1, 2), {"keys_int64s": [1, 3], "values_strings": ["x", "y"]}),
        )
    ),
    ml(
        "LabelEncoder",
        np.asarray([NAN, 0.5, 2], np.float32),
        keys_floats=[0.5, NAN],
        values_int64s=[5, 6],
        versions=(2, 4),
        # ONNX Runtime finds no NaN at version 2, although the schema says so.
        expected=lambda x: i64(6, 5, -1),
    ),
    ml(
        "LabelEncoder",
        i64(3, 1, 2).astype(np.int16),
        keys_tensor=tensor(1, 3, dtype=np.int16),
        values_tensor=tensor(0.5, 0.25, dtype=np.float64),
        default_tensor=tensor(7, dtype=np.float64),
        versions=(4,),
        # ONNX Runtime has no such pair of types.
        expected=lambda x: np.asarray([0.25, 0.5, 7]),
    ),
    # Linear models
    *(
        ml(
            "LinearRegressor",
            X,
            coefficients=[0.1, 0.2, 0.3, -0.1, 0.4, -0.5],
            intercepts=[0.25, 0.5],
            targets=2,
            post_transform=post,
            grad=(0,),
        )
        for post in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    ),
    ml("LinearRegressor", X, coefficients=[0.5, 0.25, 1.0]),
    # ONNX Runtime approximates the probit function.
    ml(
        "LinearRegressor",
        abs(X[:, :1]) / 3,
        coefficients=[1.0],
        intercepts=[0.1],
        post_transform="PROBIT",
        rtol=1e-2,
        atol=1e-3,
    ),
    # ONNX Runtime does not transform a single target.
    ml(
        "LinearRegressor",
        X,
        coefficients=[1.0, 0, 0],
        post_transform="LOGISTIC",
        expected=lambda x: 1 / (1 + np.exp(-x[:, :1])),
    ),
    *(
        ml(
            "LinearClassifier",
            X,
            coefficients=coefficients,
            intercepts=[0.25, 0.5][: len(coefficients) // 3],
            post_transform=post,
            outputs=2,
            **names,
        )
        for coefficients in ([1, 0.2, 0.3], [0.5, 0.2, 0.3, -0.5, 0.4, -0.5])
        for post in ("NONE", "SOFTMAX", "LOGISTIC")
        for names in ({"classlabels_ints": [7, 9]}, {"classlabels_strings": ["a", "b"]})
    ),
    # ONNX Runtime wants both outputs, of which one has no gradient.
    ml(
        "LinearClassifier",
        X,
        coefficients=[0.5, 0.2, 0.3, -0.5, 0.4, -0.5],
        classlabels_ints=[7, 9],
        outputs=(False, True),
        expected=lambda x: x @ np.float32([[0.5, -0.5], [0.2, 0.4], [0.3, -0.5]]),
        grad=(0,),
    ),
    # Support vector machines
    *(
        ml(
            "SVMRegressor",
            X,
            coefficients=[0.5, 0.7, -0.4, -0.8],
            n_supports=4,
            kernel_type=kind,
            grad=(0,),
            **{**KERNEL, "rho": [0.1]},
        )
        for kind in ("LINEAR", "POLY", "RBF", "SIGMOID")
    ),
    ml("SVMRegressor", X, coefficients=[0.5, 1, -1], rho=[0.1], kernel_params=[0.0, 0, 0]),
    ml(
        "SVMRegressor",
        X,
        coefficients=TWO["coefficients"],
        n_supports=4,
        one_class=1,
        **{**KERNEL, "rho": [0.1]},
    ),
    *(
        ml(
            "SVMClassifier",
            X,
            kernel_type="RBF",
            post_transform=post,
            outputs=2,
            # ONNX Runtime stops the coupling of probabilities early.
            rtol=1e-2 if probable else 1e-5,
            **{**KERNEL, **classes, **probable, "rho": KERNEL["rho"][:pairs]},
        )
        for classes, pairs in ((TWO, 1), (THREE, 3))
        for probable in ({}, {k: v[:pairs] for k, v in PROBABLE.items()})
        for post in ("NONE", "SOFTMAX", "LOGISTIC")
    ),
    # ONNX Runtime wants both outputs, of which one has no gradient.
    ml(
        "SVMClassifier",
        X,
        outputs=(False, True),
        kernel_type="RBF",
        **KERNEL,
        **THREE,
        expected=decisions,
        grad=(0,),
    ),
    ml(
        "SVMClassifier",
        X,
        outputs=2,
        classlabels_strings=["a", "b", "c"],
        coefficients=[0.5, 0.7, -0.4, -0.8, 0.3, -0.2, 0.6, -0.1, 0.9],
        rho=[0.1],
        kernel_params=[0.0, 0, 0],
    ),
]
