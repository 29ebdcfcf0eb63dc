"""Strings and n-grams. Strings are known values: numpy arrays of Python's `str`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.checks import only
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.table import op
from onnxla.ops.values import Value


def each(function: Callable[[str], Any], x: np.ndarray, dtype: Any) -> np.ndarray:
    """A function of each element."""
    return np.asarray([function(text) for text in x.flat], dtype).reshape(x.shape)


def filled(rows: Sequence[Sequence[str]], shape: Sequence[int], value: str) -> np.ndarray:
    """Rows of words as an array [*shape, longest row], filled up with `value`."""
    result = np.full((len(rows), max(map(len, rows), default=0)), value, object)
    for line, row in zip(result, rows, strict=True):
        line[: len(row)] = row
    return result.reshape(*shape, result.shape[1])


def regex(pattern: str) -> re.Pattern[str]:
    r"""A regular expression of RE2 as one of Python's; what RE2 alone has, as `\pL`, is refused."""
    try:
        return re.compile(pattern.replace(r"\z", r"\Z"), re.ASCII)
    except re.error as error:
        raise ModelError(f"pattern {pattern!r}: {error}") from error


@op("StringConcat", since=(20,))
def string_concat(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """X followed by Y, elementwise, with numpy broadcasting."""
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
    parts = [
        (text.split(delimiter, most) if delimiter else text.strip().split(None, most))
        if text
        else []
        for text in X.flat
    ]
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
    fold: Callable[[str], str] = str if is_case_sensitive else str.lower
    stop = {fold(word) for word in stopwords or ()}
    kept = [change(word) for word in X.flat if fold(word) not in stop] or [""]
    return np.asarray(kept, object).reshape(*X.shape[:-1], -1)


@op("RegexFullMatch", since=(20,))
def regex_full_match(X: np.ndarray, *, pattern: str | None = None) -> np.ndarray:
    r"""Whether the whole of each string matches.

    Departs from ONNX: patterns are those of Python's `re`, limited to ASCII classes as RE2 is.
    """
    compiled = regex(pattern or "")
    return each(lambda text: compiled.fullmatch(text) is not None, X, bool)


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

    Departs from ONNX Runtime: of the alternatives of `tokenexp` the first that matches counts, not
    the longest.
    """
    if not (tokenexp or separators):
        raise ModelError("Tokenizer needs the attribute separators or tokenexp")
    if X.size == 0:  # nothing, without an axis of words
        return np.zeros((*X.shape[:-1], 0), object)

    def words(text: str) -> list[str]:
        if tokenexp:
            return [match[0] for match in regex(tokenexp).finditer(text)]
        if separators == ("",):
            return list(text)
        parts = [text]
        for separator in map(regex, separators or ()):
            parts = [word for part in parts for word in separator.sub("\0", part).split("\0")]
        return parts

    rows = [[word for word in words(text) if len(word) >= max(mincharnum, 1)] for text in X.flat]
    if mark and any(rows):
        rows = [["\x02", *row, "\x03"] for row in rows]
    return filled(rows, X.shape, pad_value)


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
    else:
        pool = np.asarray(pool_int64s, np.int64)
    factors = np.asarray(weights or [1] * len(ngram_indexes), np.float32)
    X, columns, first = jnp.asarray(X), np.asarray(ngram_indexes), 0
    result = jnp.zeros((*X.shape[:-1], columns.max() + 1), np.float32)
    ends = (*ngram_counts[1:], len(pool))
    for n, (start, end) in enumerate(zip(ngram_counts, ends, strict=True), 1):
        grams = pool[start:end].reshape(-1, n)
        these = slice(first, first := first + len(grams))
        if not min_gram_length <= n <= max_gram_length:
            continue
        counts = jnp.zeros((*X.shape[:-1], len(grams)), np.float32)
        for stride in range(1, max_skip_count + 2 if n > 1 else 2):
            starts = np.arange(X.shape[-1] - (n - 1) * stride)
            windows = X[..., starts[:, None] + stride * np.arange(n)]
            found = (windows[..., None, :] == grams.astype(X.dtype)).all(-1)
            counts += found.sum(-2, dtype=np.float32)
        if mode != "TF":
            counts = (jnp.minimum(counts, 1) if mode == "IDF" else counts) * factors[these]
        result = result.at[..., columns[these]].add(counts)
    return result
