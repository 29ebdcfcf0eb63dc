"""Strings and n-grams. Strings are known values: numpy arrays of Python's `str`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.checks import only
from onnxla.ops.limits import budget, check_size
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.patterns import Pattern
from onnxla.ops.table import op
from onnxla.ops.values import Value, is_known

# A step of TfIdfVectorizer's counting is traced, and compiled, at the cost of so many operators.
STRIDE = 1000
LONGEST_SEPARATORS = 10_000

OBJECT = 60  # bytes of an object of Python beside its content, and of the reference to it
SEPARATED = re.compile(r"\S+")


def each(function: Callable[[str], Any], x: np.ndarray, dtype: Any) -> np.ndarray:
    """A function of each element."""
    return np.asarray([function(text) for text in x.flat], dtype).reshape(x.shape)


def size_of(text: str) -> int:
    """Bytes that a string takes."""
    return OBJECT + len(text) * (1 if text.isascii() else 4)


def filled(rows: Sequence[Sequence[str]], shape: Sequence[int], value: str) -> np.ndarray:
    """Rows of words as an array [*shape, longest row], filled up with `value`."""
    longest = max(map(len, rows), default=0)
    result = np.full(check_size((len(rows), longest), object, "all words"), value, object)
    for line, row in zip(result, rows, strict=True):
        line[: len(row)] = row
    return result.reshape(*shape, result.shape[1])


@op("StringConcat", since=(20,))
def string_concat(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """X followed by Y, elementwise, with numpy broadcasting."""
    check_size(np.broadcast_shapes(X.shape, Y.shape), object)
    budget().add(int(np.add(each(size_of, X, np.int64), each(size_of, Y, np.int64)).sum()))
    return np.asarray(np.add(X, Y), object)


@op("StringSplit", since=(20,))
def string_split(
    X: np.ndarray, *, delimiter: str | None = None, maxsplit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The parts of each string, filled up with empty ones along a last axis, and their number.

    Without a delimiter, strings are split at white space, and stripped of it. An empty string has
    no parts, as in ONNX Runtime.
    """
    most = -1 if maxsplit is None else maxsplit

    def split(text: str) -> list[str]:
        if not text:
            return []
        count = text.count(delimiter) if delimiter else sum(1 for _ in SEPARATED.finditer(text))
        budget().add(size_of(text) + OBJECT * (count if most < 0 else min(count, most)))
        return text.split(delimiter, most) if delimiter else text.strip().split(None, most)

    parts = [split(text) for text in X.flat]
    counts = np.asarray([len(found) for found in parts], np.int64)
    return filled(parts, X.shape, ""), counts.reshape(X.shape)


@op("StringNormalizer", since=(10,))
def string_normalizer(
    X: np.ndarray,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str | None = None,
    stopwords: tuple[str, ...] | None = None,
) -> np.ndarray:
    """X [C] or [1, C] without stop words, in another case; one empty string if nothing is left.

    Departs from ONNX: `locale` has no effect.
    """
    changes: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}
    if case_change_action not in changes:
        raise ModelError(f"case_change_action={case_change_action!r} is not NONE, LOWER or UPPER")
    change = changes[case_change_action]
    if change is not str:  # a letter may become three
        budget().add(sum(size_of(text) * (1 if text.isascii() else 3) for text in X.flat))
    fold: Callable[[str], str] = str if is_case_sensitive else str.lower
    stop = {fold(word) for word in stopwords or ()}
    kept = [change(word) for word in X.flat if fold(word) not in stop] or [""]
    return np.asarray(kept, object).reshape(*X.shape[:-1], -1)


@op("RegexFullMatch", since=(20,))
def regex_full_match(X: np.ndarray, *, pattern: str | None = None) -> np.ndarray:
    """Whether the whole of each string matches."""
    return each(Pattern(pattern or "").full_match, X, bool)


@op("Tokenizer", domain=DOMAIN, since=(1,))
def tokenizer(
    X: np.ndarray,
    *,
    mark: int,
    mincharnum: int,
    pad_value: str,
    separators: tuple[str, ...] | None = None,
    tokenexp: str | None = None,
) -> np.ndarray:
    r"""The words of each string of X [C] or [N, C], filled up with `pad_value` along a last axis.

    Words have at least `mincharnum` characters. They are what matches `tokenexp`, or what is left
    between matches of `separators`; the characters, if "" is the only separator. With `mark` they
    are between "\x02" and "\x03".
    """
    if not (tokenexp or separators):
        raise ModelError("Tokenizer needs the attribute separators or tokenexp")
    if X.size == 0:  # nothing, without an axis of words
        return np.zeros((*X.shape[:-1], 0), object)
    if (length := sum(map(len, separators or ()))) > LONGEST_SEPARATORS:
        raise ModelError(f"the separators of a Tokenizer have {length:,} characters in all")
    patterns = [Pattern(tokenexp)] if tokenexp else [*map(Pattern, separators or ())]

    def words(text: str) -> Iterator[str]:
        if tokenexp:
            yield from (text[begin:end] for begin, end in patterns[0].find(text))
        elif separators == ("",):
            yield from text
        else:
            yield from between(text, patterns)

    def kept(text: str) -> Iterator[str]:
        for word in words(text):
            if len(word) >= max(mincharnum, 1):
                budget().add(size_of(word))
                yield word

    rows = [[*kept(text)] for text in X.flat]
    if mark and any(rows):
        rows = [["\x02", *row, "\x03"] for row in rows]
    return filled(rows, X.shape, pad_value)


def between(text: str, separators: Sequence[Pattern]) -> Iterator[str]:
    """What is left of a text between the matches of each separator in turn."""
    if not separators:
        yield text
        return
    last = 0
    for begin, end in (*separators[0].find(text), (len(text), len(text))):
        yield from between(text[last:begin], separators[1:])
        last = end


@op("TfIdfVectorizer", since=(9,))
def tf_idf_vectorizer(
    X: Value,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: tuple[int, ...],
    ngram_indexes: tuple[int, ...],
    pool_int64s: tuple[int, ...] | None = None,
    pool_strings: tuple[str, ...] | None = None,
    weights: tuple[float, ...] | None = None,
    single: np.dtype = np.dtype(np.float32),  # noqa: B008
) -> Value:
    """How often each n-gram of the pool occurs in X [C] or [N, C], weighted; [max index + 1].

    The tokens of an n-gram are any same number of tokens up to `max_skip_count` apart. The pool has
    first all 1-grams, then all 2-grams, ...; `ngram_counts` are their beginnings.
    """
    only("mode", mode, "TF", "IDF", "TFIDF")
    if pool_strings is not None:
        numbers = {word: i for i, word in enumerate(dict.fromkeys(pool_strings))}
        pool = np.asarray([numbers[word] for word in pool_strings])
        X = each(lambda word: numbers.get(word, -1), X, np.int64)
    elif pool_int64s is not None:
        pool = np.asarray(pool_int64s, np.int64)
    else:
        raise ModelError("TfIdfVectorizer needs the attribute pool_int64s or pool_strings")
    factors = np.asarray(weights or [1] * len(ngram_indexes), single)
    columns = np.asarray(ngram_indexes, np.int64)
    shape = (*X.shape[:-1], columns.max(initial=-1) + 1)
    check_size((columns.min(initial=0),), what="a row of ngram_indexes")  # none is negative
    result = jnp.zeros(check_size(shape, single), single)
    X, first, known, ends = jnp.asarray(X), 0, is_known(X), (*ngram_counts[1:], len(pool))
    for n, (start, end) in enumerate(zip(ngram_counts, ends, strict=True), 1):
        grams = pool[start:end].reshape(-1, n)
        these = slice(first, first := first + len(grams))
        if not min_gram_length <= n <= max_gram_length or not len(grams):
            continue
        counts = jnp.zeros((*X.shape[:-1], len(grams)), single)
        for stride in range(1, max_skip_count + 2 if n > 1 else 2):
            if (starts := X.shape[-1] - (n - 1) * stride) <= 0:
                break
            budget().count_call(STRIDE * n)
            windows = jnp.stack([X[..., i * stride :][..., :starts] for i in range(n)], -1)
            if known:  # else XLA compares and counts at once
                check_size((*windows.shape, len(grams)), bool, "n-grams beside each other")
            found = (windows[..., None, :] == grams.astype(X.dtype)).all(-1)
            counts += found.sum(-2, dtype=single)
        if mode != "TF":
            counts = (jnp.minimum(counts, 1) if mode == "IDF" else counts) * factors[these]
        result = result.at[..., columns[these]].add(counts)
    return result
