import numpy as np

from support.samples import Sample, i64


def text(*words: object) -> np.ndarray:
    return np.asarray(words, object)


WORDS = text(["a b", " c  d e ", "", "f"], ["g,h", ",", "i,,j", "k"])
GRAMS = {
    "ngram_counts": [0, 4],
    "ngram_indexes": [0, 1, 2, 3, 4, 5, 6],
    "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
}
TOKENS = {
    "ngram_counts": [0, 2],
    "ngram_indexes": [1, 0, 4, 3],
    "pool_strings": ["a", "b", "a", "b", "b", "c"],
    "weights": [2.0, 3.0, 4.0, 5.0],
}
X = i64([1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8])

SAMPLES = [
    Sample("StringConcat", (text(["a", "b"], ["c", ""]), text("x", "yy"))),
    *(
        Sample("StringSplit", (WORDS,), attributes, 2)
        for attributes in (
            {},
            {"maxsplit": 1},
            {"delimiter": ","},
            {"delimiter": ",", "maxsplit": 1},
            {"delimiter": ""},
        )
    ),
    *(
        Sample("StringNormalizer", (words,), {"locale": "C", **attributes})
        for words in (text("Mon", "tue", "Wed"), text(["Mon", "tue"]))
        for attributes in (
            {},
            {"case_change_action": "UPPER", "stopwords": ["TUE"]},
            {"case_change_action": "LOWER", "stopwords": ["TUE", "mon"], "is_case_sensitive": 1},
            {"stopwords": ["Mon", "tue", "Wed"], "is_case_sensitive": 1},
        )
    ),
    *(
        Sample("RegexFullMatch", (text(["ab1", "abc"], ["", "AB\n"]),), {"pattern": pattern})
        for pattern in (r"[a-c]+\d?", r"(?i)ab\s", r".*", r"\w{3}")
    ),
    *(
        Sample(
            "Tokenizer",
            (words,),
            {"mark": mark, "mincharnum": least, "pad_value": "#", **attributes},
            domain="com.microsoft",
        )
        for words in (WORDS, text("The cat, sat!", "", "\u00e9 12x bb"))
        for mark, least, attributes in (
            (0, 1, {"separators": [" "]}),
            (1, 2, {"separators": [",", "a|[0-9]+"]}),
            (0, 1, {"separators": [""]}),
            (1, 1, {"separators": [""]}),
            (0, 1, {"tokenexp": r"\w+"}),
            (1, 2, {"tokenexp": "[a-zA-Z]+|,*"}),
            (1, 9, {"tokenexp": "[a-z]+"}),
        )
    ),
    *(
        Sample(
            "TfIdfVectorizer",
            (x,),
            {
                "mode": mode,
                "min_gram_length": low,
                "max_gram_length": 2,
                "max_skip_count": skips,
                **attributes,
            },
        )
        for x, attributes in (
            (X, GRAMS),
            (X[0].astype(np.int32), {**GRAMS, "weights": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]}),
            (text("a", "b", "c", "a", "b", "d"), TOKENS),
        )
        for mode in ("TF", "IDF", "TFIDF")
        for low, skips in ((1, 0), (1, 5), (2, 1))
    ),
]
