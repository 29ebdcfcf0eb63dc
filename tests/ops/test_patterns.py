"""Regular expressions: what matches, compared with RE2, and in how many steps."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import re2

from onnxla.ir.errors import ModelError, OnnxlaError, UnsupportedError
from onnxla.ops.limits import Budget, Limits, spending
from onnxla.ops.patterns import Pattern

SIMPLE = ["a", "b", "k", "s", ".", "é", "É", "\n", "ß", "-", "}", "]", "{,2}", "x{"]
SETS = ["[ab]", "[^a]", "[a-c]", r"[\d-z]", r"[a\-c]", "[]a]", "[^]a]", "[A-Z]", r"[\x41-\x43]"]
SETS += ["[[:alpha:]]", "[[:^space:]x]", r"[\W]", r"[^\W]", "[a-", "[b-a]", r"[a-\d]", "[[:no:]]"]
ESCAPES = [r"\w", r"\W", r"\d", r"\s", r"\S", r"\pL", r"\p{Lu}", r"\P{L}", r"\p{^Lu}", r"\pN"]
ESCAPES += [
    r"\x61",
    r"\x{e9}",
    r"\101",
    r"\.",
    r"\_",
    r"\Qa.b\E",
    r"\Q*",
    r"\E",
    r"\1",
    "\\",
    r"\Z",
]
PLACES = ["^", "$", r"\A", r"\z", r"\b", r"\B"]
GROUPS = ["(?i)", "(?s)", "(?m)", "(?-i)", "(?U)", "(?i:b)", "(?P<n>a)", "(?<m>b)", "(?=a)", "(?-)"]
PARTS = ["", ")", "(", "|", "*", "+?", "{2}", "{1,2}", "{1001}", "{3,2}", "a{1000}"]
ATOMS = [*SIMPLE, *SETS, *ESCAPES, *PLACES, *GROUPS, *PARTS]
REPEATS = ["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "??", "{0}"]
CHARACTERS = "aabbckKsS\u017f\u212a.\u00e9\u00c9 \n1_-x\u00df\u1e9e*Z"


def draw(rng: random.Random, depth: int) -> str:
    """A pattern, which may be none of RE2's."""
    chance = rng.random()
    if depth == 0 or chance < 0.3:
        return rng.choice(ATOMS)
    inner = draw(rng, depth - 1)
    if chance < 0.5:
        return inner + draw(rng, depth - 1)
    if chance < 0.65:
        return f"({inner}|{draw(rng, depth - 1)})"
    return f"(?:{inner})" if chance < 0.75 else inner + rng.choice(REPEATS)


def compiled(pattern: str, longest: bool) -> re2._Regexp | None:
    """RE2's own, or nothing if it refuses the pattern."""
    options = re2.Options()
    options.log_errors, options.longest_match = False, longest
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None


def spans(pattern: re2._Regexp, text: str) -> Iterator[tuple[int, int]]:
    """RE2's matches that are not empty."""
    return (match.span() for match in pattern.finditer(text) if match[0])


@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_re2_says(seed: int) -> None:
    rng, valid = random.Random(seed), 0
    for pattern in (draw(rng, 4) for _ in range(250)):
        theirs, longest = compiled(pattern, False), compiled(pattern, True)
        if theirs is None or longest is None:
            with pytest.raises(ModelError):
                Pattern(pattern)
            continue
        ours, valid = Pattern(pattern), valid + 1
        for _ in range(4):
            text = "".join(rng.choice(CHARACTERS) for _ in range(rng.randint(0, 9)))
            matches = theirs.fullmatch(text) is not None
            assert ours.full_match(text) == matches, (pattern, text)
            assert [*ours.find(text)] == [*spans(longest, text)], (pattern, text)
    assert valid > 50


def test_every_case_of_a_letter() -> None:
    for character in map(chr, range(0x2200)):
        if not 0xD800 <= ord(character) < 0xE000 and character not in r"\.+*?()|[]{}^$":
            theirs = compiled(f"(?i){character}", False)
            assert theirs is not None
            others = {character.lower(), character.upper(), character.swapcase(), "k", "s", "i"}
            for other in others:
                found = Pattern(f"(?i){character}").full_match(other)
                assert found == (theirs.fullmatch(other) is not None), (character, other)


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)b", "a*b|a"]
)
def test_steps_grow_with_the_text_alone(pattern: str) -> None:
    length = 100_000
    with spending(Budget(Limits(calls=length // 10))):
        ours = Pattern(pattern)
        assert not ours.full_match("a" * length)
        assert len([*ours.find("a" * length)]) == (length if pattern == "a*b|a" else 0)


def test_what_takes_too_many_steps_is_an_error() -> None:
    rng = random.Random(0)
    text = "".join(rng.choice("ab") for _ in range(100_000))
    with spending(Budget(Limits(calls=1000))), pytest.raises(ModelError, match=r"calls=\.\.\."):
        [*Pattern("(a|b)*a(a|b){200}").find(text)]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    {
        "(" * 5000 + ")" * 5000: "more than 50 groups are in each other",
        "a" * 20_000: "it has 20000 characters, more than 10000",
        "((((a{999}){999}){999}){999}){999}": "too large",
        "((((){999}){999}){999}){999}": "too large",
        "(abcde){1000}": "too large: it has more than 4000 places",
        "a{99999999999999999999}": "'{99999999999999999999}' is no repetition of at most 1000",
        "[a": "at character 2: it has a [ without a ]",
        "a**": "a repetition is repeated",
        "|*": "there is nothing to repeat",
        "(?=a)": "RE2 has no such group",
        r"(a)\1": r"RE2 has no \\1",
        r"\x{110000}": "there is no character 1114112",
    }.items(),
)
def test_what_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ModelError) as error:
        Pattern(pattern)
    assert reason.replace("\\\\", "\\") in str(error.value)
    assert len(str(error.value)) < 300


def test_what_is_not_supported() -> None:
    for pattern in (r"\p{Greek}", r"a\C"):
        with pytest.raises(UnsupportedError, match="pattern"):
            Pattern(pattern)
    assert issubclass(UnsupportedError, OnnxlaError)
