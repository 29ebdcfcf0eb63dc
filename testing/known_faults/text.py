"""Faults in strings and n-grams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, attribute, empty, enabled, has, operand, rank, size
from onnxla.testing.use import example


def words(*values: str) -> np.ndarray:
    """A tensor of strings."""
    return np.array(values, object)


def some_text(holds: Callable[[str], Any]) -> When:
    """Whether something holds of some string of the input."""
    return operand(0, lambda x: any(holds(str(text)) for text in x.flat))


BEYOND_ASCII = some_text(lambda text: not text.isascii())
EMPTY_TEXT = some_text(lambda text: not text)


def vectorizer(x: np.ndarray, **attributes: Any) -> Case:
    """A use of TfIdfVectorizer with a pool of two words."""
    given: dict[str, Any] = {
        "mode": "TF",
        "min_gram_length": 1,
        "max_gram_length": 1,
        "max_skip_count": 0,
        "ngram_counts": [0],
        "ngram_indexes": [0, 1],
        "pool_int64s": [5, 6],
    }
    return example("TfIdfVectorizer", 9, x, **{**given, **attributes})


@When
def stopword_of_several_words(case: Case) -> bool:
    """Whether a stop word has a blank."""
    return any(" " in text for text in case.attributes["stopwords"])


@When
def matches_word_characters(case: Case) -> bool:
    """Whether the pattern has a class of word characters."""
    return "\\w" in case.attributes.get("pattern", "")


@When
def weights_elsewhere(case: Case) -> bool:
    """Whether n-grams have other places in the output than in the pool, and weights count."""
    places = case.attributes["ngram_indexes"]
    return (
        case.attributes["mode"] != "TF"
        and "weights" in case.attributes
        and places != [*range(len(places))]
    )


FAULTS = [
    Fault(
        "reference",
        "StringSplit",
        "fails for a scalar",
        "'This tensor has one additional rank compared to the input tensor.'",
        rank(0),
        lambda: example("StringSplit", 20, np.array("a b", object), outputs=2, ranks={"y0": 1}),
    ),
    Fault(
        "reference",
        "StringSplit",
        "counts one part of an empty string, where there is a delimiter",
        "The text is silent on whether an empty string has an empty part; onnxla does as ONNX "
        "Runtime, which has none.",
        enabled("delimiter") & EMPTY_TEXT,
        lambda: example("StringSplit", 20, words("", "a"), delimiter=",", outputs=2),
    ),
    Fault(
        "reference",
        "StringSplit",
        "leaves white space at the end where `maxsplit` stops it",
        "Without a delimiter 'leading or trailing whitespace is removed in the output'.",
        ~enabled("delimiter") & has("maxsplit") & some_text(lambda text: text != text.rstrip()),
        lambda: example("StringSplit", 20, words("a b "), maxsplit=0, outputs=2),
    ),
    Fault(
        "onnxruntime",
        "StringSplit",
        "takes no white space but blanks as separators",
        "'Consecutive whitespace characters are regarded as a single separator and leading or "
        "trailing whitespace is removed in the output.'",
        ~enabled("delimiter") & some_text(lambda text: {*text} & {"\t", "\n"}),
        lambda: example("StringSplit", 20, words("a\tb"), outputs=2),
    ),
    Fault(
        "reference",
        "StringNormalizer",
        "strips accents",
        "'The intermediate result can be further lowercased, uppercased, or just returned.'",
        BEYOND_ASCII,
        lambda: example("StringNormalizer", 10, words("é")),
    ),
    Fault(
        "reference",
        "StringNormalizer",
        "drops empty strings",
        "'This operator first examines the elements in the X, and removes elements specified in "
        "stopwords', of which the empty string is not one.",
        EMPTY_TEXT,
        lambda: example("StringNormalizer", 10, words("", "a")),
    ),
    Fault(
        "reference",
        "StringNormalizer",
        "tells cases of stop words apart where it should not, unless it changes the case",
        "'Whether the identification of stop words in X is case-sensitive. Default is false'.",
        enabled("stopwords")
        & ~enabled("is_case_sensitive")
        & attribute("case_change_action", "NONE", default="NONE"),
        lambda: example("StringNormalizer", 10, words("a", "b"), stopwords=["A"]),
    ),
    Fault(
        "reference",
        "StringNormalizer",
        "removes stop words from within elements",
        "'Removes elements specified in \"stopwords\" attribute.'",
        enabled("stopwords") & (some_text(lambda text: " " in text) | stopword_of_several_words),
        lambda: example("StringNormalizer", 10, words("B c"), stopwords=["B"], is_case_sensitive=1),
    ),
    Fault(
        "onnxruntime",
        "StringNormalizer",
        "rejects an input without words",
        "'If all elements in X are dropped, the output will be the empty value of string tensor "
        "with shape [1]'; 'only accepts [C]- and [1, C]-tensor', of which C may be 0.",
        empty(),
        lambda: example("StringNormalizer", 10, np.zeros(0, object)),
    ),
    Fault(
        "reference",
        "RegexFullMatch",
        "takes letters beyond ASCII for word characters",
        "'RE2 regex syntax is used', by which \\w is [0-9A-Za-z_].",
        matches_word_characters & BEYOND_ASCII,
        lambda: example("RegexFullMatch", 20, words("é"), pattern="\\w"),
    ),
    Fault(
        "reference",
        "TfIdfVectorizer",
        "fails without `weights`, where they count",
        "'By default, weights is an all-one tensor.'",
        ~attribute("mode", "TF") & ~has("weights"),
        lambda: vectorizer(np.array([5, 6]), mode="IDF"),
    ),
    Fault(
        "reference",
        "TfIdfVectorizer",
        "takes the weight of an n-gram by its place in the output, not in the pool",
        "'The i-th element in weights is the weight of the i-th n-gram in pool.'",
        weights_elsewhere,
        lambda: vectorizer(
            np.array([5, 6]), mode="TFIDF", weights=[2.0, 3.0], ngram_indexes=[1, 0]
        ),
    ),
    *(
        Fault(
            runtime,
            "TfIdfVectorizer",
            "rejects an input without rows",
            "'If input shape is [N, C], this operator produces a [N, max(ngram_indexes) + 1]-"
            "tensor', and N may be 0.",
            rank(2) & size(0, 0),
            lambda: vectorizer(np.ones((0, 2), np.int64)),
        )
        for runtime in ("reference", "onnxruntime")
    ),
]
