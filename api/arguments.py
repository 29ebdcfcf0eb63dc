"""What arguments take, as tables: a wrong one is told by its name, its value and what would do."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeGuard, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ir.names import listed, no_such
from onnxla.ops.limits import Limits

P = ParamSpec("P")
R = TypeVar("R")
Tells = Callable[[Any], bool]


def always(value: Any) -> bool:
    """True, of any value."""
    return True


@dataclass(frozen=True)
class Takes:
    """What an argument takes. `a | b` takes what either does.

    Attributes:
        what: What it is, in a message.
        kind: Whether a value is of the right kind; if not, that is a TypeError.
        fits: Whether a value of this kind will do; if not, that is a ValueError.
    """

    what: str
    kind: Tells
    fits: Tells = always

    def __or__(self, other: Takes) -> Takes:
        def fits(value: Any) -> bool:
            return any(each.kind(value) and each.fits(value) for each in (self, other))

        kinds, what = (self.kind, other.kind), " or ".join(filter(None, (self.what, other.what)))
        return Takes(what, lambda value: any(kind(value) for kind in kinds), fits)

    def check(self, name: str, value: Any) -> None:
        """Raises TypeError or ValueError, with the argument's name, unless a value will do."""
        for fits, error in ((self.kind, TypeError), (self.fits, ValueError)):
            if not fits(value):
                raise error(f"{name} is {self.what}, got {value!r:.100}")


def check_arguments(given: Mapping[str, Any], table: Mapping[str, Takes]) -> None:
    """Checks arguments against a table by their names.

    Args:
        given: A function's arguments, as `locals()` has them in its first line.
        table: What they take; others are not checked.

    Raises:
        TypeError, ValueError: One is not what it takes.
    """
    for name, value in given.items():
        if name in table:
            table[name].check(name, value)


def called_here(elsewhere: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that says what arguments of other libraries are called here.

    Args:
        elsewhere: By their names there, what is said of them.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = inspect.signature(function).parameters
        takes_others = any(each.kind == each.VAR_KEYWORD for each in own.values())

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name in elsewhere:
                    raise TypeError(f"{name} {elsewhere[name]}")
                if not (takes_others or name in own):
                    raise TypeError(no_such("argument", name, [*own][1:]))  # the first is `self`
            return function(*args, **kwargs)

        return checked

    return decorate


def of_type(what: str, *types: type) -> Takes:
    """An instance of a type."""
    return Takes(what, lambda value: isinstance(value, types))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a real number, which a flag is not."""
    if isinstance(value, Real):
        return not isinstance(value, bool)
    return getattr(value, "shape", None) == () and np.dtype(value.dtype).kind in "fiu"


def number(what: str, fits: Tells = math.isfinite) -> Takes:
    """A number that fits."""
    return Takes(what, is_number, fits)


def whole(least: int, most: int | None = None) -> Takes:
    """A whole number of at least so much."""
    upper = "" if most is None else f" and at most {most}"
    return Takes(
        f"a whole number of at least {least}{upper}",
        lambda value: isinstance(value, Integral) and not isinstance(value, bool),
        lambda value: least <= value and (most is None or value <= most),
    )


def one_of(names: Collection[str]) -> Takes:
    """One of some names."""
    return Takes(f"one of {listed(names)}", is_text, lambda value: value in names)


def plain_number(value: Any) -> Any:
    """A number of numpy or the like as Python's, which JSON and optax know; others as they are."""
    if not is_number(value) or callable(value):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def is_text(value: Any) -> bool:
    """Whether a value is text."""
    return isinstance(value, str)


def is_names(value: Any) -> bool:
    """Whether a value is a name, or several."""
    several = isinstance(value, Iterable) and not isinstance(value, Mapping | bytes)
    return several and (not isinstance(value, Collection) or all(map(is_text, value)))


def is_key(value: Any) -> bool:
    """Whether a value is a key of `jax.random`, of either form."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return False
    return jnp.issubdtype(dtype, jax.dtypes.prng_key) or (dtype == np.uint32 and value.ndim == 1)


def is_dtype(value: Any) -> bool:
    """Whether a value is a dtype, or names one."""
    try:
        jnp.dtype(value)
    except TypeError:
        return False
    return value is not None  # which numpy takes for float64


def is_precision(value: str) -> bool:
    """Whether JAX knows a precision of products by this name."""
    try:
        with jax.default_matmul_precision(value):
            return True
    except ValueError:
        return False


NOTHING = Takes("", lambda value: value is None)  # a message need not say that it may be left out
FLAG = of_type("True or False", bool)
COUNT = whole(1)
POSITIVE = number("a number above 0", lambda value: 0 < value < math.inf)
SHARE = number("a number between 0 and 1", lambda value: 0 < value < 1)
NAME = Takes("a name", is_text)
NAMES = Takes("a name or several", is_names)
SEVERAL = Takes("names, one after the other", lambda value: all(map(is_text, value)))
PATH = of_type("a path", str, os.PathLike)
DICT = of_type("a dict by name", Mapping)
KEY = Takes("a key, as jax.random.key(0)", is_key)
MESH = of_type("a mesh, as jax.make_mesh((4,), ('data',))", jax.sharding.Mesh)
RULES = of_type("a dict of specs by pattern or 'fsdp'", Mapping, str)
PRECISION = Takes(
    "a precision of JAX, as 'highest', 'tensorfloat32' or 'bfloat16'", is_text, is_precision
)

DTYPE = Takes(
    "a floating-point type, as 'bfloat16'",
    is_dtype,
    lambda value: jnp.issubdtype(jnp.dtype(value), jnp.floating),
)

LOAD: dict[str, Takes] = {
    "folder": PATH | NOTHING,
    "limits": of_type("onnxla.Limits", Limits) | NOTHING,
    "matmul_precision": PRECISION | NOTHING,
    "roll": FLAG | NOTHING,
    "remat": FLAG,
    "cache": FLAG | PATH,
    "mesh": MESH | NOTHING,
    "sharding": RULES | NOTHING,
}
MODULE: dict[str, Takes] = {
    "params": DICT,
    "key": KEY | NOTHING,
    "outputs": NAMES | NOTHING,
    "train": NAMES | NOTHING,
    "roles": NAMES | NOTHING,
    "freeze_statistics": FLAG | NAMES | NOTHING,
    "groups": Takes(
        "a dict of labels by name or pattern",
        lambda value: isinstance(value, Mapping) and all(map(is_text, value)),
    ),
    "default": NAME,
    "patterns": SEVERAL,
    "operators": SEVERAL,
    "rank": COUNT,
    "alpha": POSITIVE | NOTHING,
    "also_train": NAMES,
    "inputs": NAMES | DICT | NOTHING,
    "features": NAME | NOTHING,
    "classes": COUNT | NOTHING,
    "softmax": FLAG,
    "name": NAME,
    "after": NAMES,
    "ratio": SHARE,
    "opset": whole(0) | NOTHING,
    "dtype": DTYPE,
    "mesh": MESH,
    "rules": RULES | NOTHING,
    "path": PATH,
    "merge": FLAG,
    "switchable": FLAG,
    "external_data": FLAG | NAME | NOTHING,
    "tolerance": number("a number of at least 0", lambda value: value >= 0),
}
PENALTY = "is not there; repetition_penalty makes tokens that were there before less likely"
GENERATE_ELSEWHERE: dict[str, str] = {
    "input_ids": "is ids here, the first argument",
    "inputs_embeds": "is not there: text is made of tokens, ids",
    "max_length": "is max_new_tokens here, which counts the new tokens alone",
    "max_tokens": "is max_new_tokens here",
    "min_length": "is not there: without eos, exactly max_new_tokens are made",
    "min_new_tokens": "is not there: without eos, exactly max_new_tokens are made",
    "num_beams": "is beams here",
    "num_return_sequences": "is not there: give a prompt several times",
    "eos_token_id": "is eos here",
    "pad_token_id": "is pad here",
    "do_sample": "is not there: one of temperature, top_k and top_p, with a key, draws tokens",
    "seed": "is key here, as key=jax.random.key(0)",
    "generator": "is key here, as key=jax.random.key(0)",
    "no_repeat_ngram_size": PENALTY,
    "length_penalty": "is not there: beams are compared by their probabilities",
    "early_stopping": "is not there: beams end when all have",
    "presence_penalty": PENALTY,
    "frequency_penalty": PENALTY,
    "streamer": "is stream=True here, which returns an iterator",
    "stopping_criteria": "is not there: with stream=True, stop where you like",
    "use_cache": "is not there: the cache is always used",
    "encoder_hidden_states": 'is given as inputs={"encoder_hidden_states": ...}',
}
"""What other libraries call arguments of `generate`."""
EXPORT: dict[str, Takes] = {
    "path": PATH,
    "platforms": NAMES,
    "shapes": DICT | NOTHING,
    "constraints": NAMES,
    "params": one_of(("constants", "argument")),
    "key": KEY | Takes("'argument'", is_text, lambda value: value == "argument") | NOTHING,
    "vjp_order": whole(0),
}
