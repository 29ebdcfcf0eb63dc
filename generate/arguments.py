"""What the arguments of a decoder and its `generate` take, by their names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onnxla.arguments import (
    COUNT,
    DICT,
    FLAG,
    KEY,
    NOTHING,
    POSITIVE,
    SHARE,
    Takes,
    number,
    whole,
)


def is_even(value: Any) -> bool:
    """Whether a value is an array, or lists that are of one length each."""
    try:
        np.shape(value)
    except ValueError:
        return False
    return not isinstance(value, str | bytes)


def are_tokens(value: Any) -> bool:
    """Whether a value is whole numbers, one or several, perhaps none."""
    return is_even(value) and (not np.size(value) or np.asarray(value).dtype.kind in "iu")


def are_one_or_row(value: Any) -> bool:
    """Whether tokens are one, or a row."""
    return np.ndim(value) < 2


DECODER: dict[str, Takes] = {"caches": DICT | NOTHING, "length": COUNT | NOTHING}
GENERATE: dict[str, Takes] = {
    "ids": Takes(
        "prompts [B, S] or one prompt [S], of which shorter ones are padded to the length of the "
        "longest, with an attention_mask that is 0 there",
        is_even,
    ),
    "attention_mask": Takes("an array of 0 and 1 for each token", is_even) | NOTHING,
    "max_new_tokens": COUNT,
    "eos": Takes("a token, or a list of tokens", are_tokens, are_one_or_row),
    "pad": whole(0) | NOTHING,
    "temperature": number("a number of at least 0", lambda value: 0 <= value < math.inf) | NOTHING,
    "top_k": COUNT | NOTHING,
    "top_p": SHARE | number("1", lambda value: value == 1) | NOTHING,
    "repetition_penalty": POSITIVE | NOTHING,
    "key": KEY | NOTHING,
    "beams": COUNT | NOTHING,
    "inputs": DICT | NOTHING,
    "params": DICT | NOTHING,
    "stream": FLAG,
    "progress": FLAG,
}
