"""Classical machine learning, domain ai.onnx.ml: labels, features, maps, linear models and SVMs.

Maps are Python dicts and known; so are strings. Scores are computed in float32, or in float64 for
such an X, and returned as float32, which is what ONNX states, or as what stands for it: `single`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError, StaticOperandError
from onnxla.ops.arithmetic import pow_, quotient
from onnxla.ops.cast import concrete, widen
from onnxla.ops.checks import only
from onnxla.ops.elementary import abs_
from onnxla.ops.index import argmax, check_indices
from onnxla.ops.limits import check_size
from onnxla.ops.matmul import matmul
from onnxla.ops.table import op
from onnxla.ops.values import Value, is_concrete, is_floating, xp

DOMAIN = "ai.onnx.ml"
Ints = tuple[int, ...] | None
Floats = tuple[float, ...] | None
Strings = tuple[str, ...] | None

SINGLE = np.dtype(np.float32)


def one_of(**choices: Any) -> tuple[str, Any]:
    """The one attribute that is given, with its name. Raises: ModelError if there is not one."""
    given = [(name, value) for name, value in choices.items() if value is not None]
    if len(given) != 1:
        names = ", ".join(name for name, _ in given) or "none"
        raise ModelError(f"one of {', '.join(choices)} must be given; it has {names}")
    return given[0]


def array(values: Any) -> np.ndarray:
    """An attribute as an array: its ints as int64, floats as float32 and strings as objects."""
    if isinstance(values, np.ndarray):
        return values
    kinds = {int: np.int64, float: np.float32, str: object}
    return np.asarray(values, kinds[type(values[0])] if values else np.float32)


def labels(index: Value, ints: Ints, strings: Strings, prefix: str = "classlabels_int") -> Value:
    """The class labels at positions; strings need these to be known."""
    _, values = one_of(**{prefix + "s": ints, "classlabels_strings": strings})
    names = array(values)
    if names.dtype == object:
        index = concrete(index)
    return xp(index).take(names, index)


# Scores


def softmax_zero(x: Value) -> Value:
    """`softmax` of the scores that are not 0; those stay 0."""
    zero = abs(x) <= 1e-7
    exp = jnp.exp(x - x.max(-1, keepdims=True))
    total = jnp.where(zero, 0, exp).sum(-1, keepdims=True)
    # A score that is nearly 0 is scaled like the others, as in ONNX Runtime.
    small = x * jnp.exp(-x.max(-1, keepdims=True))
    return jnp.where(zero, small, exp) / jnp.where(total == 0, 1, total)


TRANSFORMS: dict[str, Callable[[Value], Value]] = {
    "NONE": lambda x: x,
    "SOFTMAX": jax.nn.softmax,
    "LOGISTIC": jax.nn.sigmoid,
    "SOFTMAX_ZERO": softmax_zero,
    "PROBIT": jax.scipy.special.ndtri,
}


def transform(scores: Value, post_transform: str, single: np.dtype) -> Value:
    """Scores [N, E] after a `post_transform`, as `single`."""
    only("post_transform", post_transform, *TRANSFORMS)
    return TRANSFORMS[post_transform](scores).astype(single)


def both(score: Value, post_transform: str, complement: bool, single: np.dtype) -> Value:
    """Scores [N, 2] of two classes from that of the second; the first's is 1 - it, or -it.

    As in ONNX Runtime, SOFTMAX does not apply to them.
    """
    if post_transform == "LOGISTIC":
        return transform(jnp.stack([-score, score], -1), "LOGISTIC", single)
    pair = jnp.stack([1 - score if complement else -score, score], -1)
    return transform(pair, "PROBIT" if post_transform == "PROBIT" else "NONE", single)


# Features


@op("ArrayFeatureExtractor", since=(1,), domain=DOMAIN)
def array_feature_extractor(X: Value, Y: Value) -> Value:
    """X at the positions Y of its last axis; X [C] is taken as [1, C], and Y as flat."""
    if X.dtype == object:
        Y = concrete(Y)
    check_indices(Y, X.shape[-1])
    X = X.reshape(1, -1) if X.ndim == 1 else X
    return xp(X, Y).take(X, Y.reshape(-1), axis=-1)


@op("Binarizer", since=(1,), domain=DOMAIN)
def binarizer(X: Value, *, threshold: float = 0.0) -> Value:
    """1 where X > threshold, else 0, in the type of X."""
    return (widen(X) > threshold).astype(X.dtype)


@op("FeatureVectorizer", since=(1,), domain=DOMAIN)
def feature_vectorizer(*X: Value, inputdimensions: Ints = None, single: np.dtype = SINGLE) -> Value:
    """The inputs, each as [N, C] (or [1, C]) float32, side by side."""
    rows = [x.reshape(1, -1) if x.ndim == 1 else x for x in X]
    widths = tuple(x.shape[1] for x in rows)
    if inputdimensions is not None and inputdimensions != widths:
        raise ModelError(f"inputdimensions={inputdimensions}, but the inputs have {widths}")
    return xp(*rows).concatenate([x.astype(single) for x in rows], 1)


@op("Imputer", since=(1,), domain=DOMAIN)
def imputer(
    X: Value,
    *,
    imputed_value_floats: Floats = None,
    imputed_value_int64s: Ints = None,
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Value:
    """X [..., F] with the elements that equal a value, perhaps NaN, replaced; by feature or all."""
    m = xp(X)
    floats = imputed_value_floats if is_floating(X) else imputed_value_int64s
    if not floats:
        raise ModelError(f"there are no imputed values for {X.dtype}")
    if is_floating(X):
        old = np.asarray(np.float32(replaced_value_float).astype(X.dtype))
        missing = m.isnan(X) if np.isnan(old) else m.equal(X, old)
    else:
        missing = m.equal(X, np.asarray(replaced_value_int64, X.dtype))
    return m.where(missing, array(floats).astype(X.dtype), X)


@op("Normalizer", since=(1,), domain=DOMAIN)
def normalizer(X: Value, *, norm: str = "MAX", single: np.dtype = SINGLE) -> Value:
    """X [N, C] or [C] divided by each row's maximum (MAX), sum of magnitudes (L1) or length (L2).

    A row whose divisor is 0 stays as it is.
    """
    x = jnp.asarray(widen(X))
    if norm == "MAX":
        divisor = x.max(-1, keepdims=True)
    elif norm == "L1":
        divisor = abs_(x).sum(-1, keepdims=True)
    elif norm == "L2":
        square = (x * x).sum(-1, keepdims=True)
        divisor = jnp.sqrt(jnp.where(square == 0, 1, square))
    else:
        raise ModelError(f"norm is MAX, L1 or L2, not {norm!r}")
    return quotient(x, jnp.where(divisor == 0, 1, divisor)).astype(single)


@op("Scaler", since=(1,), domain=DOMAIN)
def scaler(
    X: Value, *, offset: Floats = None, scale: Floats = None, single: np.dtype = SINGLE
) -> Value:
    """(X - offset) * scale, for all features or for each."""
    x = widen(X)
    x = x if offset is None else x - array(offset).astype(x.dtype)
    x = x if scale is None else x * array(scale).astype(x.dtype)
    return x.astype(single)


@op("OneHotEncoder", since=(1,), domain=DOMAIN)
def one_hot_encoder(
    X: Value, *, cats_int64s: Ints = None, cats_strings: Strings = None, zeros: int = 1
) -> Value:
    """1 where a new last axis's category equals the element, else 0; float32.

    Without `zeros`, elements of no category are an error, if they are known.
    """
    _, given = one_of(cats_int64s=cats_int64s, cats_strings=cats_strings)
    categories = array(given)
    X = concrete(X) if categories.dtype == object else X.astype(np.int64)
    found = X[..., None] == categories
    if not zeros and is_concrete(found) and not found.any(-1).all():
        raise ValueError(f"{X[~found.any(-1)].flat[0]!r} is no category of OneHotEncoder")
    return found.astype(np.float32)


# Labels


def look_up(x: Value, keys: np.ndarray, values: np.ndarray, default: Any) -> Value:
    """The value of each element's key, the last of equal ones; `default` where there is none."""
    if len(keys) != len(values) or not len(keys):
        raise ModelError(f"there are {len(keys)} keys and {len(values)} values")
    if object in (keys.dtype, values.dtype):
        x = concrete(x)
    if keys.dtype == object:  # which numpy would have to sort
        positions = {key: i for i, key in enumerate(keys.tolist())}
        found = [positions.get(key, -1) for key in x.reshape(-1).tolist()]
        place = np.asarray(found, np.int64).reshape(x.shape)
        return np.where(place >= 0, values[place], np.asarray(default, values.dtype).reshape(()))
    unique, last = np.unique(keys[::-1], return_index=True)
    values = values[::-1][last]
    m, unique = xp(x), unique.astype(x.dtype)
    place = m.clip(m.searchsorted(unique, x), 0, len(unique) - 1)
    near = m.take(unique, place)
    found = near == x
    if is_floating(unique):
        found |= m.isnan(near) & m.isnan(x)
    default = np.asarray(default, values.dtype).reshape(())
    return m.where(found, m.take(values, place), default)


@op("LabelEncoder", since=(2, 4), domain=DOMAIN)
def label_encoder(
    X: Value,
    *,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    default_tensor: np.ndarray | None = None,
    keys_floats: Floats = None,
    keys_int64s: Ints = None,
    keys_strings: Strings = None,
    keys_tensor: np.ndarray | None = None,
    values_floats: Floats = None,
    values_int64s: Ints = None,
    values_strings: Strings = None,
    values_tensor: np.ndarray | None = None,
) -> Value:
    """The value of each element's key (NaN may be one), else the default of the values' kind."""
    _, keys = one_of(
        keys_floats=keys_floats,
        keys_int64s=keys_int64s,
        keys_strings=keys_strings,
        keys_tensor=keys_tensor,
    )
    _, values = one_of(
        values_floats=values_floats,
        values_int64s=values_int64s,
        values_strings=values_strings,
        values_tensor=values_tensor,
    )
    keys, values = array(keys), array(values)
    defaults = {"O": default_string, "i": default_int64, "f": default_float}
    default = defaults[values.dtype.kind] if default_tensor is None else default_tensor
    return look_up(X, keys, values, default)


@op("LabelEncoder", since=(1,), domain=DOMAIN)
def label_encoder_1(
    X: Value,
    *,
    classes_strings: Strings = None,
    default_int64: int = -1,
    default_string: str = "_Unused",
) -> Value:
    """The position of each string among the classes, or the class at each position."""
    classes = classes_strings or ()
    return exchange(X, range(len(classes)), classes, default_int64, default_string)


def exchange(X: Value, ints: Sequence[int], strings: Sequence[str], i: int, s: str) -> Value:
    """The integer of each string, or the string of each integer; `i` or `s` where there is none."""
    numbers, names = np.asarray(ints, np.int64), np.asarray(strings, object)
    return look_up(X, names, numbers, i) if X.dtype == object else look_up(X, numbers, names, s)


@op("CategoryMapper", since=(1,), domain=DOMAIN)
def category_mapper(
    X: Value,
    *,
    cats_int64s: Ints = None,
    cats_strings: Strings = None,
    default_int64: int = -1,
    default_string: str = "_Unused",
) -> Value:
    """The integer of each string, or the string of each integer."""
    return exchange(X, cats_int64s or (), cats_strings or (), default_int64, default_string)


# Maps


def known_map(X: Value) -> dict[Any, Any]:
    """A map with its values as Python's. Raises: StaticOperandError if one is traced."""
    if not isinstance(X, Mapping):
        raise ModelError(f"the operand is no map, but {type(X).__name__}")
    if not is_concrete([*X.values()]):
        raise StaticOperandError("maps cannot be traced")
    return {k: v if isinstance(v, str) else np.asarray(v).item() for k, v in X.items()}


@op("CastMap", since=(1,), domain=DOMAIN)
def cast_map(
    X: Value, *, cast_to: str = "TO_FLOAT", map_form: str = "DENSE", max_map: int = 1
) -> np.ndarray:
    """A map's values [1, C] in the order of the keys; if SPARSE, at their keys, C = max_map."""
    kinds: dict[str, tuple[Any, Any, Any]] = {
        "TO_FLOAT": (np.float32, float, 0),
        "TO_INT64": (np.int64, int, 0),
        "TO_STRING": (object, str, "0"),
    }
    only("cast_to", cast_to, *kinds)
    only("map_form", map_form, "DENSE", "SPARSE")
    dtype, convert, absent = kinds[cast_to]
    items = sorted(known_map(X).items())
    if map_form == "DENSE":
        return np.asarray([[convert(value) for _, value in items]], dtype)
    result = np.full(check_size((1, max_map), dtype), absent, dtype)
    for key, value in items:
        if not 0 <= key < max_map:
            raise ModelError(f"key {key} of a sparse map is not in [0, {max_map})")
        result[0, key] = convert(value)
    return result


@op("DictVectorizer", since=(1,), domain=DOMAIN)
def dict_vectorizer(
    X: Value, *, int64_vocabulary: Ints = None, string_vocabulary: Strings = None
) -> np.ndarray:
    """A map's values [1, C] in the order of a vocabulary, 0 (or "") where a key is absent.

    Numbers that are Python's are int64 or float32.
    """
    _, vocabulary = one_of(int64_vocabulary=int64_vocabulary, string_vocabulary=string_vocabulary)
    first: Any = next(iter(X.values()), 0.0)
    dtype = first.dtype if hasattr(first, "dtype") else array((first,)).dtype
    numbers = known_map(X)
    if unknown := set(numbers).difference(vocabulary):
        raise ValueError(f"keys {sorted(unknown)[:5]} are not in the vocabulary")
    absent = 0 if np.issubdtype(dtype, np.number) else ""
    return np.asarray([[numbers.get(key, absent) for key in vocabulary]], dtype)


@op("ZipMap", since=(1,), domain=DOMAIN)
def zip_map(
    X: Value, *, classlabels_int64s: Ints = None, classlabels_strings: Strings = None
) -> list[dict[Any, float]]:
    """For each row of X [N, C] or [C] a map from labels to its numbers."""
    _, keys = one_of(classlabels_int64s=classlabels_int64s, classlabels_strings=classlabels_strings)
    if not is_concrete(X):
        raise StaticOperandError("maps cannot be traced")
    rows = np.asarray(X).reshape(math.prod(X.shape[:-1]), X.shape[-1])
    if len(keys) != rows.shape[1]:
        raise ModelError(f"there are {len(keys)} labels for {rows.shape[1]} columns")
    return [dict(zip(keys, row.tolist(), strict=True)) for row in rows]


# Linear models


def affine(X: Value, coefficients: Floats, intercepts: Floats, rows: int) -> Value:
    """X [N, F] @ coefficients [rows, F] transposed, + intercepts [rows] or none.

    More coefficients are ignored, as in ONNX Runtime: its example `logreg_iris.onnx` has too many.
    """
    x = jnp.asarray(widen(X))
    x = x.reshape(1, -1) if x.ndim == 1 else x
    weights = np.asarray(coefficients or (), x.dtype)[: rows * x.shape[1]]
    if weights.size < rows * x.shape[1]:
        raise ModelError(f"{weights.size} coefficients for {rows} times {x.shape[1]} features")
    if intercepts and len(intercepts) != rows:
        raise ModelError(f"{len(intercepts)} intercepts for {rows} rows of coefficients")
    product = matmul(x, weights.reshape(rows, x.shape[1]).T)
    return product if not intercepts else product + np.asarray(intercepts, x.dtype)


@op("LinearRegressor", since=(1,), domain=DOMAIN, times_zero=("X",))
def linear_regressor(
    X: Value,
    *,
    coefficients: Floats = None,
    intercepts: Floats = None,
    post_transform: str = "NONE",
    targets: int = 1,
    single: np.dtype = SINGLE,
) -> Value:
    """X [N, F] @ coefficients [targets, F] transposed + intercepts."""
    return transform(affine(X, coefficients, intercepts, targets), post_transform, single)


@op("LinearClassifier", since=(1,), domain=DOMAIN, times_zero=("X",))
def linear_classifier(
    X: Value,
    *,
    coefficients: tuple[float, ...],
    classlabels_ints: Ints = None,
    classlabels_strings: Strings = None,
    intercepts: Floats = None,
    multi_class: int = 0,
    post_transform: str = "NONE",
    single: np.dtype = SINGLE,
) -> tuple[Value, Value]:
    """The labels [N] of the best scores, and the scores [N, E] of `linear_regressor`.

    Two classes may have one row of coefficients: that of the second, which is chosen where its
    score is above 0. `multi_class` changes nothing.
    """
    n_labels = len(classlabels_ints or classlabels_strings or ())
    one = n_labels == 2 and len(coefficients) == X.shape[-1]
    scores = affine(X, coefficients, intercepts, 1 if one else n_labels)
    if one:
        index, scores = scores[:, 0] > 0, both(scores[:, 0], post_transform, True, single)
    else:
        index, scores = argmax(scores, 1), transform(scores, post_transform, single)
    return labels(index.astype(np.int64), classlabels_ints, classlabels_strings), scores


# Support vector machines


def kernel(X: Value, vectors: Floats, count: int, kernel_type: str, kernel_params: Floats) -> Value:
    """The kernel of each row of X [N, F] and each support vector; [N, count]."""
    x = jnp.asarray(widen(X))
    x = x.reshape(1, -1) if x.ndim == 1 else x
    support = np.asarray(vectors or (), x.dtype)
    if support.size != count * x.shape[1]:
        raise ModelError(f"{support.size} numbers are not {count} vectors of {x.shape[1]} features")
    support = support.reshape(count, x.shape[1])
    gamma, coef0, degree = kernel_params or (0.0, 0.0, 0.0)
    match kernel_type:
        case "LINEAR":
            return matmul(x, support.T)
        case "POLY":
            inner = gamma * matmul(x, support.T) + coef0
            return pow_(inner, np.asarray(degree, x.dtype))
        case "RBF":
            return jnp.exp(-gamma * ((x[:, None] - support) ** 2).sum(-1))
        case "SIGMOID":
            return jnp.tanh(gamma * matmul(x, support.T) + coef0)
    raise ModelError(f"kernel_type '{kernel_type}' is none of LINEAR, POLY, RBF and SIGMOID")


@op("SVMRegressor", since=(1,), domain=DOMAIN)
def svm_regressor(
    X: Value,
    *,
    coefficients: Floats = None,
    kernel_params: Floats = None,
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: Floats = None,
    support_vectors: Floats = None,
    single: np.dtype = SINGLE,
) -> Value:
    """Kernels with the support vectors @ coefficients + rho [N, 1]; if `one_class`, its sign.

    Without support vectors, X takes the place of the kernels.
    """
    if n_supports:
        X = kernel(X, support_vectors, n_supports, kernel_type, kernel_params)
    result = affine(X, coefficients, rho, 1)
    if one_class:
        result = jnp.where(result > 0, 1, -1).astype(result.dtype)
    return transform(result, post_transform, single)


def couple(wins: Value, pairs: Sequence[tuple[int, int]], n: int) -> Value:
    """Probabilities [N, n] of classes from those [N, pairs] that the first of two wins.

    Those that minimize the sum over pairs of (p_i w_ji - p_j w_ij)**2. Source: Wu, Lin and Weng,
    Probability Estimates for Multi-class Classification by Pairwise Coupling, 2004. Solved exactly,
    and not up to a tolerance as in LIBSVM.
    """
    if n == 2:
        return jnp.concatenate([wins, 1 - wins], 1)
    first, second = np.asarray(pairs).T
    w = jnp.zeros((len(wins), n, n), wins.dtype)
    w = w.at[:, first, second].set(wins).at[:, second, first].set(1 - wins)
    system = -w * jnp.swapaxes(w, 1, 2) + jnp.eye(n, dtype=w.dtype) * (w * w).sum(1)[:, None]
    # The last row and column are the constraint that the probabilities sum to 1.
    system = jnp.pad(system, ((0, 0), (0, 1), (0, 1)), constant_values=1).at[:, n, n].set(0)
    right = np.zeros((len(wins), n + 1, 1), w.dtype)
    right[:, n] = 1
    return jnp.linalg.solve(system, right)[:, :n, 0]


@op("SVMClassifier", since=(1,), domain=DOMAIN)
def svm_classifier(
    X: Value,
    *,
    classlabels_ints: Ints = None,
    classlabels_strings: Strings = None,
    coefficients: Floats = None,
    kernel_params: Floats = None,
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: Floats = None,
    prob_b: Floats = None,
    rho: Floats = None,
    support_vectors: Floats = None,
    vectors_per_class: Ints = None,
    single: np.dtype = SINGLE,
) -> tuple[Value, Value]:
    """The labels [N] that most pairs of classes vote for, and scores.

    These are probabilities [N, C] if there are `prob_a` and `prob_b`, else the decisions of pairs
    [N, C * (C - 1) / 2]; for two classes [N, 2]. Without support vectors it is a linear classifier.
    """
    n = len(classlabels_ints or classlabels_strings or ())
    if not vectors_per_class:
        scores = affine(X, coefficients, rho and rho[:1] * n, n)
        index, scores = argmax(scores, 1), transform(scores, post_transform, single)
        return labels(index, classlabels_ints, classlabels_strings), scores
    count = sum(vectors_per_class)
    kernels = kernel(X, support_vectors, count, kernel_type, kernel_params)
    weights = np.asarray(coefficients or (), kernels.dtype)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    if (
        len(vectors_per_class) != n
        or weights.size != (n - 1) * count
        or len(rho or ()) < len(pairs)
    ):
        raise ModelError(
            f"{n} classes with {vectors_per_class} vectors have {weights.size} coefficients and "
            f"{len(rho or ())} rho"
        )
    weights = weights.reshape(n - 1, count)
    owner = np.repeat(np.arange(n), vectors_per_class)
    columns = [
        np.where(owner == i, weights[j - 1], 0) + np.where(owner == j, weights[i], 0)
        for i, j in pairs
    ]
    bias = np.asarray(rho, kernels.dtype)[: len(pairs)]
    decisions = matmul(kernels, np.stack(columns, 1)) + bias
    winners: Value = jnp.where(decisions > 0, *np.asarray(pairs, np.int64).T)
    index = argmax(jnp.equal(jnp.expand_dims(winners, -1), np.arange(n)).sum(1), 1)
    if prob_a:
        a, b = (np.asarray(p, kernels.dtype) for p in (prob_a, prob_b or ()))
        if not len(a) == len(b) == len(pairs):
            raise ModelError(f"prob_a and prob_b are {len(a)} and {len(b)} for {len(pairs)} pairs")
        wins = jnp.clip(jax.nn.sigmoid(-(decisions * a + b)), 1e-7, 1 - 1e-7)
        scores = transform(couple(wins, pairs, n), post_transform, single)
    elif n == 2:
        scores = both(decisions[:, 0], post_transform, post_transform != "NONE", single)
    else:
        scores = transform(decisions, post_transform, single)
    return labels(index, classlabels_ints, classlabels_strings), scores
