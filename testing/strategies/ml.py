"""Classical machine learning, domain ai.onnx.ml: labels, features, maps, linear models and SVMs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import numpy_helper

from onnxla.ir import STRING
from onnxla.peers.difference import is_integer
from onnxla.testing.draw import TEXTS, Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.types import Typed, tensor_type
from onnxla.testing.use import Use

DOMAIN = "ai.onnx.ml"
# Not all runtimes transform: half of the scores stay as they are.
POST_TRANSFORMS = (None, None, None, "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
# Both other runtimes approximate the probit function, to this relative error.
PROBIT = 1e-2
# The probit function is defined between 0 and 1. These bounds of constants, and of the sum of what
# is added to them, also keep away from 1/2, where it is 0 and an approximation has no digit right.
PROBIT_CONSTANT, PROBIT_SUM = (0.0625, 0.125), 0.25
# What SOFTMAX_ZERO makes of scores that are all 0 is not said. With this constant in one of them it
# is not 0, since it is no multiple of the small fractions in the others.
NOT_ZERO = float(np.float32(0.1))


def floats(draw: Draw, count: int, low: float = -2, high: float = 2) -> list[float]:
    """An attribute of floats."""
    return [float(v) for v in draw.array(np.float32, (count,), low, high)]


def distinct(draw: Draw, dtype: Any, count: int) -> list[Any]:
    """Integers, floats or strings of which no two are the same."""
    if np.dtype(dtype) == STRING:
        return [TEXTS[i] for i in draw.permutation(len(TEXTS))[:count]]
    values: list[Any] = draw.array(dtype, (count,), distinct=True).tolist()
    return values


def picked(draw: Draw, shape: Sequence[int], options: Sequence[Any], dtype: Any) -> np.ndarray:
    """An array of elements that are among the options."""
    places = draw.array(np.int64, shape, 0, len(options) - 1)
    result = np.empty(places.shape, dtype)
    for at in np.ndindex(places.shape):
        result[at] = options[int(places[at])]
    return result


def class_labels(
    draw: Draw, count: int, ints: str = "classlabels_ints"
) -> tuple[dict[str, list[Any]], str]:
    """The attribute with labels of classes, and the type string of a tensor of them."""
    if draw.flag():
        return {"classlabels_strings": distinct(draw, STRING, count)}, "tensor(string)"
    return {ints: distinct(draw, np.int64, count)}, "tensor(int64)"


# Features


@strategy("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(draw: Draw) -> Use:
    """X of shape (D1, ..., C) and Y of shape (K) or (1, K)."""
    shape = (*draw.shape((0, 3)), draw.side(1, 5))
    count = draw.side(1, 4)
    where = draw.array(np.int64, draw.choice(((count,), (1, count))), 0, shape[-1] - 1)
    rank = max(2, len(shape))
    return draw.use((draw.tensor("X", shape), where), ranks={"y0": rank})


@strategy("Binarizer", domain=DOMAIN)
def binarizer(draw: Draw) -> Use:
    """X of any shape."""
    x = draw.tensor("X", draw.shape())
    threshold = draw.maybe(lambda: draw.floating(-2, 2))
    if threshold is not None and x.size and draw.flag():  # equal to an element, hence not above it
        threshold = float(np.nan_to_num(np.float32(x.flat[0]), posinf=1, neginf=-1))
    return draw.use((x,), {"threshold": threshold})


@strategy("FeatureVectorizer", domain=DOMAIN)
def feature_vectorizer(draw: Draw) -> Use:
    """Inputs of shapes (N, C1), (N, C2), ...; if N is 1, some of shape (C)."""
    rows, widths = draw.side(0, 4), [draw.side(1, 4) for _ in range(draw.integer(1, 4))]
    inputs = [
        draw.tensor("X", (width,) if rows == 1 and draw.flag() else (rows, width))
        for width in widths
    ]
    batch = range(len(inputs)) if all(x.ndim == 2 for x in inputs) else ()
    attributes = {"inputdimensions": draw.choice((widths, widths, None))}
    return draw.use(inputs, attributes, ranks={"y0": 2}, batch=tuple(batch))


@strategy("Imputer", domain=DOMAIN)
def imputer(draw: Draw) -> Use:
    """X of shape (D1, ..., F), some of whose elements are to be replaced."""
    shape = (*draw.shape((0, 3)), draw.side(1, 5))
    integer = is_integer(draw.dtype("X"))
    count = shape[-1] if draw.flag() else 1
    if integer:
        old: Any = draw.maybe(lambda: draw.integer(-3, 3))
        attributes = {
            "replaced_value_int64": old,
            "imputed_value_int64s": draw.array(np.int64, (count,), -9, 9).tolist(),
        }
    else:
        old = draw.maybe(lambda: draw.choice((math.nan, 1.5, -1.0, 0.0)))
        attributes = {
            "replaced_value_float": old,
            "imputed_value_floats": floats(draw, count, -9, 9),
        }
    x = draw.tensor("X", shape)
    replaced = draw.array(np.bool_, shape)
    x = np.where(replaced, np.asarray(old or 0, x.dtype), x)
    return draw.use((x,), attributes, ranks={"y0": x.ndim})


@strategy("Normalizer", domain=DOMAIN)
def normalizer(draw: Draw) -> Use:
    """X of shape (N, C) or (C)."""
    shape = draw.choice(((), (1,), (2,), (4,), (0,)))
    x = draw.tensor("X", (*shape, draw.side(1, 6)))
    return draw.use(
        (x,),
        {"norm": draw.choice((None, "MAX", "L1", "L2"))},
        ranks={"y0": x.ndim},
        batch=(0,) if shape else (),
    )


@strategy("Scaler", domain=DOMAIN)
def scaler(draw: Draw) -> Use:
    """X of shape (N, F) or another one, where `offset` and `scale` have one element."""
    shape = draw.shape((1, 4))
    one = len(shape) != 2 or shape[1] == 0 or draw.flag()
    count = 1 if one else shape[-1]
    given = draw.choice((("offset", "scale"), ("offset", "scale"), ("offset",), ("scale",)))
    attributes = {name: floats(draw, count) for name in given}
    x = draw.tensor("X", shape)
    return draw.use((x,), attributes, ranks={"y0": x.ndim}, batch=(0,))


@strategy("OneHotEncoder", domain=DOMAIN)
def one_hot_encoder(draw: Draw) -> Use:
    """X of any shape, some of whose elements are categories."""
    shape, dtype = draw.shape(), draw.dtype("X")
    strings = dtype == STRING
    categories = distinct(draw, STRING if strings else np.int64, draw.integer(1, 5))
    zeros = draw.choice((None, 1, 0))
    if zeros == 0:  # then other elements are an error
        options: list[Any] = categories
    elif strings:
        options = [*TEXTS]
    else:
        options = [*range(-8, 9), *categories]
    x = picked(draw, shape, options, dtype)
    if dtype.kind == "f" and x.size and draw.flag():  # is cast to integers, which truncates
        x = np.asarray(x + np.where(x < 0, -0.5, 0.5).astype(dtype) * (x != 0))
    return draw.use(
        (x,),
        {"cats_strings" if strings else "cats_int64s": categories, "zeros": zeros},
        ranks={"y0": len(shape) + 1},
        batch=(0,) if shape else (),
    )


# Labels


@strategy("CategoryMapper", domain=DOMAIN)
def category_mapper(draw: Draw) -> Use:
    """X of any shape, of strings or integers."""
    count = draw.integer(1, 5)
    ints, strings = distinct(draw, np.int64, count), distinct(draw, STRING, count)
    x, default, kind = strings_or_integers(draw, strings, ints)
    attributes = {"cats_int64s": ints, "cats_strings": strings, **default}
    return draw.use((x,), attributes, types={"y0": kind})


def strings_or_integers(
    draw: Draw, strings: Sequence[str], ints: Sequence[int]
) -> tuple[np.ndarray, dict[str, Any], str]:
    """X, some of whose elements are among those given; the default value, and Y's type string."""
    shape = draw.shape()
    if draw.dtype("X") == STRING:
        x = picked(draw, shape, [*TEXTS], STRING)
        return x, {"default_int64": draw.maybe(lambda: draw.integer(-9, 9))}, "tensor(int64)"
    x = picked(draw, shape, [*ints, *range(-8, 9)], np.int64)
    return x, {"default_string": draw.maybe(lambda: draw.choice(TEXTS))}, "tensor(string)"


@strategy("LabelEncoder", domain=DOMAIN)
def label_encoder(draw: Draw) -> Use:
    """X of any shape, some of whose elements are keys."""
    count = draw.integer(1, 5)
    if draw.has("classes_strings"):
        classes = distinct(draw, STRING, count)
        x, default, kind = strings_or_integers(draw, classes, range(count))
        return draw.use(
            (x,), {"classes_strings": classes, **default}, types={"y0": kind}, ranks={"y0": x.ndim}
        )
    source, target = draw.dtype("X"), draw.dtype("Y")
    keys = distinct(draw, source, count)
    if source.kind == "f" and draw.flag():
        keys[draw.integer(0, count - 1)] = math.nan
    if draw.has("keys_tensor") and draw.flag():  # of equal keys the last one counts
        keys.append(keys[0])
    # Bit patterns are compared at version 2, so that 0.0 and -0.0 differ there: no -0.0 is drawn.
    others = [*TEXTS] if source == STRING else [*range(8)] + [math.nan] * (source.kind == "f")
    x = picked(draw, draw.shape(), [*keys, *others], source)
    values = draw.array(target, (len(keys),), -9, 9).tolist()
    fallback = draw.array(target, (1,), -9, 9)
    attributes: dict[str, Any] = {}
    for prefix, dtype, items in (("keys", source, keys), ("values", target, values)):
        plural = {"float32": "floats", "int64": "int64s", "object": "strings"}.get(dtype.name)
        tensor = plural is None or (draw.has("keys_tensor") and draw.flag())
        attributes[f"{prefix}_tensor" if tensor else f"{prefix}_{plural}"] = (
            numpy_helper.from_array(np.asarray(items, dtype)) if tensor else items
        )
        if prefix == "values" and draw.flag():
            single = "default_tensor" if tensor else f"default_{str(plural)[:-1]}"
            attributes[single] = (
                numpy_helper.from_array(fallback) if tensor else fallback.tolist()[0]
            )
    return draw.use((x,), attributes, types={"y0": tensor_type(target)}, ranks={"y0": x.ndim})


# Maps


@strategy("CastMap", domain=DOMAIN)
def cast_map(draw: Draw) -> Use:
    """A map from integers to floats or strings."""
    kind = draw.choice(list(draw.schema.allowed("X")))
    form, to = draw.choice((None, "DENSE", "SPARSE")), draw.choice(("FLOAT", "INT64", "STRING"))
    count = draw.integer(1, 5)
    longest = draw.integer(count, 9)
    if form == "SPARSE":
        keys = draw.permutation(longest)[:count]
    else:
        keys = distinct(draw, np.int64, count)
    if "string" in kind:
        texts = {"FLOAT": ("1", "2.5", "-0.125"), "INT64": ("1", "20", "-3"), "STRING": TEXTS}[to]
        values: list[Any] = [draw.choice(texts) for _ in keys]
    elif to == "STRING":
        # How a number is written is not said; these are written in one way only.
        values = [float(v) for v in draw.array(np.int64, (count,), 0, 9)]
    else:
        values = floats(draw, count, -4, 4)
    return draw.use(
        (Typed(kind, dict(zip(keys, values, strict=True))),),
        {
            "cast_to": None if to == "FLOAT" and draw.flag() else f"TO_{to}",
            "map_form": form,
            "max_map": longest if form == "SPARSE" else draw.choice((None, 1, 3)),
        },
        types={"y0": f"tensor({to.lower()})"},
        ranks={"y0": 2},
    )


@strategy("DictVectorizer", domain=DOMAIN)
def dict_vectorizer(draw: Draw) -> Use:
    """A map, some of whose possible keys are absent."""
    kind = draw.choice(list(draw.schema.allowed("X")))
    key, value = (part.strip() for part in kind.removeprefix("map(")[:-1].split(","))
    strings = key == "string"
    count = draw.integer(1, 5)
    vocabulary = distinct(draw, STRING if strings else np.int64, count)
    keys = [vocabulary[i] for i in draw.subset(count, 1)]
    dtype = {"string": STRING, "int64": np.int64, "float": np.float32, "double": np.float64}[value]
    values = draw.array(dtype, (len(keys),)).tolist()
    return draw.use(
        (Typed(kind, dict(zip(keys, values, strict=True))),),
        {"string_vocabulary" if strings else "int64_vocabulary": vocabulary},
        types={"y0": f"tensor({value})"},
        ranks={"y0": 2},
    )


@strategy("ZipMap", domain=DOMAIN)
def zip_map(draw: Draw) -> Use:
    """X of shape (N, C) or (C)."""
    shape = draw.choice(((1,), (3,), (), (0,)))
    count = draw.integer(1, 5)
    labels, kind = class_labels(draw, count, "classlabels_int64s")
    key = kind.removeprefix("tensor(")[:-1]
    x = draw.array(np.float32, (*shape, count))
    return draw.use((x,), labels, types={"y0": f"seq(map({key}, float))"})


# Linear models


@strategy("LinearRegressor", domain=DOMAIN)
def linear_regressor(draw: Draw) -> Use:
    """X of shape (N, F) and coefficients of shape (targets, F)."""
    targets = draw.integer(1, 4)
    x, attributes, rtol = linear(draw, targets)
    attributes["targets"] = None if targets == 1 and draw.flag() else targets
    return draw.use((x,), attributes, ranks={"y0": 2}, rtol=rtol, batch=(0,))


@strategy("LinearClassifier", domain=DOMAIN)
def linear_classifier(draw: Draw) -> Use:
    """X of shape (N, F) and coefficients of shape (classes, F), or (1, F) for two classes."""
    classes = draw.integer(2, 4)
    x, attributes, rtol = linear(draw, 1 if classes == 2 and draw.flag() else classes)
    labels, kind = class_labels(draw, classes)
    attributes |= {**labels, "multi_class": draw.choice((None, 0, 1))}
    return draw.use(
        (x,),
        attributes,
        outputs=2,
        types={"y0": kind},
        ranks={"y0": 1, "y1": 2},
        rtol=rtol,
        batch=(0,),
    )


def linear(draw: Draw, rows: int) -> tuple[np.ndarray, dict[str, Any], float]:
    """X of shape (N, F), the attributes of `rows` affine functions of it, and a tolerance."""
    shape = (draw.side(0, 5), draw.side(1, 4))
    post = draw.choice(POST_TRANSFORMS)
    if post == "PROBIT":
        x = draw.tensor("X", shape, 0, 1)
        coefficients = floats(draw, rows * shape[1], 0, PROBIT_SUM / shape[1])
        intercepts: list[float] | None = floats(draw, rows, *PROBIT_CONSTANT)
    else:
        x = draw.tensor("X", shape)
        coefficients = floats(draw, rows * shape[1])
        # ONNX Runtime has no LinearClassifier without them.
        intercepts = None if draw.choice((True, False, False)) else floats(draw, rows)
        if post == "SOFTMAX_ZERO":
            intercepts = [NOT_ZERO, *(intercepts or [0.0] * rows)[1:]]
    attributes = {"coefficients": coefficients, "intercepts": intercepts, "post_transform": post}
    return x, attributes, PROBIT if post == "PROBIT" else 1e-5


# Support vector machines

# `kernel_params` where they are unused. ONNX Runtime wants them always.
ZEROS = [0.0, 0.0, 0.0]


def kernel(draw: Draw, features: int, vectors: int, post: str | None) -> dict[str, Any]:
    """The attributes of a kernel and its support vectors."""
    kinds = ("RBF",) if post == "PROBIT" else (None, "LINEAR", "RBF", "POLY", "SIGMOID")
    kind = draw.choice(kinds)
    plain = kind in (None, "LINEAR")
    parameters = [draw.floating(0.125, 1), draw.floating(-1, 1), float(draw.integer(0, 3))]
    return {
        "kernel_type": kind,
        "kernel_params": draw.choice((ZEROS, parameters)) if plain else parameters,
        "support_vectors": floats(draw, vectors * features),
    }


@strategy("SVMRegressor", domain=DOMAIN)
def svm_regressor(draw: Draw) -> Use:
    """X of shape (N, F) and support vectors of shape (V, F), or none."""
    features, vectors = draw.side(1, 4), draw.integer(0, 4)
    post = draw.choice(POST_TRANSFORMS)
    attributes: dict[str, Any] = {"post_transform": post}
    probit = post == "PROBIT"
    if vectors:
        attributes |= kernel(draw, features, vectors, post)
    else:
        attributes["kernel_params"] = draw.choice((ZEROS, None))
    count = vectors or features
    low, high = (0.0, PROBIT_SUM / count) if probit else (-2.0, 2.0)
    attributes |= {
        "n_supports": vectors or draw.choice((None, 0)),
        "coefficients": floats(draw, count, low, high),
        "rho": floats(draw, 1, *PROBIT_CONSTANT) if probit else floats(draw, 1),
        "one_class": None if probit else draw.choice((None, 0, 1)),
    }
    if post == "SOFTMAX_ZERO":
        attributes["rho"][0] = NOT_ZERO
    bounds = (0, 1) if probit else (-2, 2)
    x = draw.tensor("X", (draw.side(0, 4), features), *bounds)
    return draw.use((x,), attributes, ranks={"y0": 2}, rtol=PROBIT if probit else 1e-4, batch=(0,))


@strategy("SVMClassifier", domain=DOMAIN)
def svm_classifier(draw: Draw) -> Use:
    """X of shape (N, F) and support vectors of shape (V, F), or none."""
    features, classes = draw.side(1, 4), draw.integer(2, 4)
    post = draw.choice(POST_TRANSFORMS)
    labels, kind = class_labels(draw, classes)
    attributes: dict[str, Any] = {"post_transform": post, **labels}
    probit, rtol = post == "PROBIT", 1e-4
    pairs = classes * (classes - 1) // 2
    if draw.flag():  # a linear model without support vectors
        attributes["kernel_params"] = draw.choice((ZEROS, None))
        count, terms, pairs = classes * features, features, 1
    else:
        owned = [draw.integer(1, 2) for _ in range(classes)]
        attributes |= kernel(draw, features, sum(owned), post)
        attributes["vectors_per_class"] = owned
        count, terms = (classes - 1) * sum(owned), 4  # two classes with two vectors each
        if draw.flag():
            low, high = (0.5, 1) if probit else (-1, 1)
            attributes |= {"prob_a": floats(draw, pairs), "prob_b": floats(draw, pairs, low, high)}
            rtol = 2e-2  # the coupling of probabilities is iterated up to a tolerance
    attributes |= {
        "coefficients": floats(draw, count, *((0, PROBIT_SUM / terms) if probit else (-2, 2))),
        "rho": floats(draw, pairs, *PROBIT_CONSTANT) if probit else floats(draw, pairs),
    }
    if post == "SOFTMAX_ZERO":
        attributes["rho"][0] = NOT_ZERO
    bounds = (0, 1) if probit else (-2, 2)
    x = draw.tensor("X", (draw.side(0, 4), features), *bounds)
    return draw.use(
        (x,),
        attributes,
        outputs=2,
        types={"y0": kind},
        ranks={"y0": 1, "y1": 2},
        rtol=max(rtol, PROBIT) if probit else rtol,
        batch=(0,),
    )
