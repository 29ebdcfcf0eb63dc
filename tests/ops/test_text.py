"""Strings of which a few operators make more than there is memory: an error before they do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from onnxla.ir.errors import ModelError
from onnxla.ops.limits import Budget, Limits, spending
from onnxla.ops.text import (
    string_concat,
    string_normalizer,
    string_split,
    tf_idf_vectorizer,
    tokenizer,
)


def texts(*words: str) -> np.ndarray:
    return np.array(words, object)


LONG, SHARED = "ab" * 100_000, texts(*["ab" * 10_000] * 20)
tokens = partial(tokenizer, mark=0, mincharnum=1, pad_value="#")
grams = partial(tf_idf_vectorizer, max_skip_count=0, mode="TF", ngram_counts=(0,), pool_int64s=(1,))
unigrams = partial(grams, min_gram_length=1, max_gram_length=1)
NUMBERS = np.ones(1000, np.int64)

LARGE: dict[str, Callable[[], Any]] = {
    "StringConcat": lambda: string_concat(texts(LONG * 5), texts(LONG * 5)),
    "StringConcat of one string many times": lambda: string_concat(
        SHARED, texts(*"abcdef")[:, None]
    ),
    "StringConcat of wide characters": lambda: string_concat(texts("\U0001d4b3" * 400_000), SHARED),
    "StringConcat outer": lambda: string_concat(texts(*"a" * 2000)[:, None], texts(*"b" * 2000)),
    "StringSplit": lambda: string_split(texts(LONG), delimiter="a"),
    "StringSplit at white space": lambda: string_split(texts("a " * 100_000)),
    "StringSplit of one string many times": lambda: string_split(SHARED, delimiter="a"),
    "StringSplit, rows": lambda: string_split(texts("a" * 2000, *"b" * 2000), delimiter="a"),
    "StringNormalizer": lambda: string_normalizer(SHARED.repeat(9), case_change_action="UPPER"),
    "StringNormalizer, three letters": lambda: string_normalizer(
        texts("\u0390" * 200_000), case_change_action="UPPER"
    ),
    "Tokenizer": lambda: tokens(texts(LONG), tokenexp="a"),
    "Tokenizer, separators": lambda: tokens(texts(LONG), separators=("b",)),
    "Tokenizer, characters": lambda: tokens(texts(LONG), separators=("",)),
    "Tokenizer, rows": lambda: tokens(texts("a " * 2000, *"b" * 2000), separators=(" ",)),
    "TfIdfVectorizer": lambda: unigrams(NUMBERS, ngram_indexes=(2**40,)),
    "TfIdfVectorizer, pool": lambda: unigrams(
        NUMBERS, pool_int64s=range(10_000), ngram_indexes=range(10_000)
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_too_large_is_an_error(name: str) -> None:
    with (
        spending(Budget(Limits(bytes=2 * 10**6))),
        pytest.raises(ModelError, match=r"Limits\(bytes=\.\.\.\)"),
    ):
        LARGE[name]()


def test_what_is_not_too_large() -> None:
    with spending(Budget(Limits(bytes=3 * 10**5))):
        assert string_concat(texts("a" * 40_000), texts("b" * 40_000))[0][39_999:40_001] == "ab"
        parts, counts = string_split(texts("ab" * 40_000), delimiter="a", maxsplit=2)
        assert (parts[0, :2].tolist(), counts.tolist()) == (["", "b"], [3])
        assert tokens(texts("ab" * 10_000), tokenexp="(ab)+")[0, 0] == "ab" * 10_000


def test_tokens_are_the_longest_matches() -> None:
    assert tokens(texts("abcab"), tokenexp="a|ab|bc").tolist() == [["ab", "ab"]]
    assert tokens(texts("xaby\0z"), separators=("a|ab", "y")).tolist() == [["x", "\0z"]]


def test_distances_between_the_tokens_of_an_n_gram() -> None:
    pairs = partial(tf_idf_vectorizer, mode="TF", ngram_counts=(0, 0), pool_int64s=(1, 2))
    pairs = partial(pairs, min_gram_length=2, max_gram_length=2, ngram_indexes=(0,))
    x = np.array([1, 3, 2, 2], np.int64)
    assert pairs(x, max_skip_count=1).tolist() == [1]
    assert pairs(x, max_skip_count=2**62).tolist() == [2]


@pytest.mark.parametrize("columns", [(-5,), (0, -1)])
def test_a_negative_column(columns: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=f"ngram_indexes.*{min(columns)}"):
        unigrams(NUMBERS, ngram_indexes=columns)
