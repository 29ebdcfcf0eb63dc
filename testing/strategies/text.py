"""Strings and n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxla.ir import STRING
from onnxla.testing.draw import DRAWN_ONE_BY_ONE, Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.use import Use

MICROSOFT = "com.microsoft"


def strings(draw: Draw, shape: Sequence[int], among: Sequence[str]) -> np.ndarray:
    """A tensor of some strings."""
    size = int(np.prod(shape))
    if size <= DRAWN_ONE_BY_ONE:
        chosen = [draw.choice(among) for _ in range(size)]
    else:
        rng = draw.generator()
        chosen = [among[i] for i in rng.integers(0, len(among), size)]
    return np.array([*chosen, None], object)[:-1].reshape(shape)


@strategy("StringConcat")
def string_concat(draw: Draw) -> Use:
    """Operands that broadcast."""
    a, b = draw.broadcast_shapes(2)
    return draw.use((draw.tensor("X", a), draw.tensor("Y", b)))


@strategy("StringSplit")
def string_split(draw: Draw) -> Use:
    """Strings of any shape, with separators at all places."""
    texts = (
        "a",
        "a b",
        "",
        " a  b ",
        "a,b",
        ",",
        ",a,,b,",
        "a, b",
        " ",
        "a\tb\nc",
        "abab",
        "é,é b",
    )
    delimiters = (None, "", ",", " ", "b", "ab", ", ")
    return draw.use(
        (strings(draw, draw.shape(), texts),),
        {"delimiter": draw.choice(delimiters), "maxsplit": draw.choice((None, 0, 1, 2, 5))},
        2,
    )


@strategy("StringNormalizer")
def string_normalizer(draw: Draw) -> Use:
    """Words (C) or (1, C)."""
    # ONNX Runtime fails where the machine lacks the locale, by default en_US; the locale C has
    # ASCII only.
    locale = draw.choice((None, "C", "en_US", "C"))
    words = ("a", "A", "b", "", "Mon", "mon", "MON", "B c", *(() if locale == "C" else ("É", "é")))
    length = draw.side(0, 6)
    shape = (1, length) if draw.flag() else (length,)
    stopwords = draw.maybe(lambda: [draw.choice(words) for _ in range(draw.integer(1, 4))])
    return draw.use(
        (strings(draw, shape, words),),
        {
            "case_change_action": draw.choice((None, "NONE", "LOWER", "UPPER")),
            "is_case_sensitive": draw.choice((None, 0, 1)),
            "stopwords": stopwords,
            "locale": locale,
        },
    )


@strategy("RegexFullMatch")
def regex_full_match(draw: Draw) -> Use:
    """Strings of any shape, and a pattern that means the same to RE2 and others."""
    texts = (
        "a",
        "ab",
        "",
        "abc",
        "AB",
        "a1",
        "12",
        "a b",
        "a\nb",
        "ab\n",
        "é",
        "a.b",
        "user@x.org",
    )
    patterns: tuple[str, ...] = (
        "a",
        "a*",
        "[a-c]+",
        "ab|abc",
        "(ab|a)(c|bc)",
        r"\w+",
        r"\d+",
        ".*",
        ".+",
        "(?i)ab",
        r"a\.b",
        "a.b",
        r"\S{2,3}",
        "^ab$",
        r"(\W|^)[\w.]{0,25}@x\.org",
        "[^a]",
        "",
        r"\w",
        r"(?s)a.b",
        r"a\sb",
        "(?:a|b)??",
        r"\bab\b",
    )
    x = strings(draw, draw.shape(), texts)
    return draw.use((x,), {"pattern": draw.choice(patterns)})


@strategy("Tokenizer", domain=MICROSOFT)
def tokenizer(draw: Draw) -> Use:
    """Strings (C) or (N, C), and separators or a pattern of what is between them."""
    texts = ("a", "a b", "", "ab cd ef", "a,b;c", ",", " a  b ", "abcde", "12 ab3", "é éa", "B c")
    separators = ([" "], [""], [","], [" ", ","], [",|;", " "], ["[0-9]+"], ["b", "c"])
    patterns = (".", "[a-z]+", r"\w+", "[^ ]+", "ab?", "[0-9]+|[a-z]")
    shape = draw.shape((1, 2), (0, 4))
    attributes: dict[str, Any] = {
        "mark": int(draw.flag()),
        "mincharnum": draw.integer(1, 3),
        "pad_value": draw.choice(("#", "", "xx")),
    }
    if draw.flag():
        attributes["tokenexp"] = draw.choice(patterns)
    else:
        attributes["separators"] = draw.choice(separators)
    # Empty inputs stay as they are, without an axis of tokens.
    ranks = {"y0": len(shape) + (0 not in shape)}
    return draw.use((strings(draw, shape, texts),), attributes, ranks=ranks)


@strategy("TfIdfVectorizer")
def tf_idf_vectorizer(draw: Draw) -> Use:
    """Tokens (C) or (N, C), and a pool of different n-grams."""
    dtype = draw.dtype("X")
    tokens = ("a", "b", "c", "B c", "é") if dtype == STRING else (1, 2, 3, -4, 50)
    longest = draw.integer(1, 3)
    pool: list[Any] = []
    counts, grams = [], 0
    for n in range(1, longest + 1):
        counts.append(len(pool))
        # Different n-grams are different numbers in base 3.
        chosen = draw.subset(3**n, least=int(n == 1))[:4]
        pool += [tokens[(k // 3**i) % 3] for k in chosen for i in range(n)]
        grams += len(chosen)
    # Every n-gram has a place of its own; some places are of none.
    room = grams + draw.integer(0, 2)
    shape = draw.shape((1, 2), (0, 5))
    if dtype == STRING:
        x = strings(draw, shape, tokens[:4])  # type: ignore[arg-type]
    else:
        x = np.asarray(tokens, dtype)[draw.array(np.int64, shape, 0, 3)]
    least = draw.integer(1, longest)
    attributes: dict[str, Any] = {
        "mode": draw.choice(("TF", "IDF", "TFIDF")),
        "min_gram_length": least,
        "max_gram_length": draw.integer(least, longest),
        "max_skip_count": draw.integer(0, 3),
        "ngram_counts": counts,
        "ngram_indexes": draw.permutation(room)[:grams],
        "pool_strings" if dtype == STRING else "pool_int64s": pool,
        "weights": draw.maybe(lambda: [draw.choice((2.0, 1.0, 0.5, 3.0)) for _ in range(grams)]),
    }
    return draw.use((x,), attributes)
