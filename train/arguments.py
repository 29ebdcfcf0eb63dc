"""What the arguments of `fit`, `evaluate`, `predict` and `lr_find` take, by their names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np

from onnxla.arguments import (
    COUNT,
    DICT,
    DTYPE,
    FLAG,
    LOAD,
    MESH,
    NAME,
    NAMES,
    NOTHING,
    PATH,
    POSITIVE,
    RULES,
    SHARE,
    Takes,
    is_number,
    is_text,
    number,
    of_type,
    whole,
)
from onnxla.train.plateau import Plateau

SEEDS = 2**63 - 1


def is_optimizer(value: Any) -> bool:
    """Whether a value is an optimizer of optax."""
    return hasattr(value, "init") and hasattr(value, "update") and not isinstance(value, type)


def is_measure(value: Any) -> bool:
    """Whether a value may be a loss or a metric."""
    return isinstance(value, str) or callable(value)


def is_validation(value: Any) -> bool:
    """Whether a value may be validation data, or a share of the data."""
    return not isinstance(value, bool | str | bytes)


def are_class_weights(value: Any) -> bool:
    """Whether a value may be weights of classes."""
    if isinstance(value, str | Mapping):
        return True
    try:
        return np.ndim(value) == 1 and np.asarray(value).dtype.kind in "iuf"
    except ValueError:  # lists of different lengths
        return False


def weigh_classes(value: Any) -> bool:
    """Whether weights of classes are "balanced", or numbers of at least 0, by whole numbers.

    Those of all classes are not all 0.
    """
    if isinstance(value, str):
        return value == "balanced"
    if not isinstance(value, Mapping):
        numbers = np.asarray(value)
        return bool(np.isfinite(numbers).all() and (numbers >= 0).all() and numbers.any())
    numbered = all(isinstance(k, Integral) for k in value)
    return numbered and all(is_number(w) and 0 <= w < math.inf for w in value.values())


def is_monitor(value: Any) -> bool:
    """Whether a value is a name, or a pair of a name and a direction."""
    pair = isinstance(value, tuple | list) and len(value) == 2 and all(map(is_text, value))
    return pair or isinstance(value, str)


MEASURE = Takes("a name or a function", is_measure)
MEASURES = Takes(
    "a name or a function, or a list of these",
    lambda value: (
        is_measure(value)
        or (isinstance(value, list | tuple | set | frozenset) and all(map(is_measure, value)))
    ),
)
SCHEDULE = Takes("a schedule of optax, a function of the number of updates", callable)
AXES = Takes(
    "a dict of axes by name",
    lambda value: isinstance(value, Mapping) and all(isinstance(v, int) for v in value.values()),
)
READING: dict[str, Takes] = {
    "batch_size": COUNT,
    "outputs": Takes(NAMES.what, NAMES.kind, lambda value: value not in ([], (), "")) | NOTHING,
    "rename": DICT | NOTHING,
    "batch_axis": AXES | NOTHING,
    "bucket": DICT | NOTHING,
    "progress": FLAG,
}
"""Of all that read data."""
EVALUATE: dict[str, Takes] = {
    **READING,
    "loss": MEASURE | NOTHING,
    "metrics": MEASURES,
    "class_weight": Takes(
        "'balanced', a dict of weights by class, or an array of all classes' weights, none of them "
        "negative and some above 0",
        are_class_weights,
        weigh_classes,
    )
    | NOTHING,
}
FIT: dict[str, Takes] = {
    **EVALUATE,
    "loss": MEASURE,
    **dict.fromkeys(
        ("epochs", "steps", "patience", "validate_every", "checkpoint_every"), COUNT | NOTHING
    ),
    **dict.fromkeys(("shuffle", "remat", "resume"), FLAG),
    **dict.fromkeys(("train", "roles"), NAMES | NOTHING),
    "freeze": NAMES,
    "freeze_statistics": FLAG | NAMES | NOTHING,
    "keep_zeros": FLAG | NAMES,
    "optimizer": Takes("one of optax, as optax.sgd(0.1)", is_optimizer) | NAME | NOTHING,
    "learning_rate": POSITIVE | SCHEDULE | NOTHING,
    "schedule": NAME | of_type("onnxla.Plateau", Plateau) | NOTHING,
    "warmup": number("a share of the steps, at least 0 and below 1", lambda v: 0 <= v < 1)
    | NOTHING,
    "accumulate": COUNT,
    "clip_norm": POSITIVE | NOTHING,
    "weight_average": SHARE | NOTHING,
    "validation": Takes(
        "data, or a share of it between 0 and 1",
        is_validation,
        lambda value: not is_number(value) or 0 < value < 1,
    ),
    "monitor": Takes("a name, or a pair as ('f1', 'max')", is_monitor) | NOTHING,
    "min_delta": number("a number of at least 0", lambda value: 0 <= value < math.inf),
    "compute_dtype": DTYPE | NOTHING,
    "matmul_precision": LOAD["matmul_precision"],
    "seed": whole(0, SEEDS),
    "checkpoint": PATH | NOTHING,
    "mesh": MESH | NOTHING,
    "sharding": RULES | NOTHING,
}
SEARCH: dict[str, Takes] = {"steps": whole(10), "lowest": POSITIVE, "highest": POSITIVE}
"""Of `lr_find`, whose further arguments are those of `fit`."""
