"""Regular expressions as trees. The syntax is RE2's, but for scripts and single bytes.

Whether a repetition prefers more or less is not kept: it decides which match is found, not whether
there is one.

Source: https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from onnxla.ir.errors import ModelError, UnsupportedError
from onnxla.ops.characters import (
    END,
    Characters,
    categories,
    folded,
    others,
    span,
    spans,
    union,
)

MAX_LENGTH = 10_000  # characters of a pattern
MAX_DEPTH = 50  # groups within groups
MAX_REPEAT = 1000  # RE2's, also of repetitions within repetitions

TEXT_START, TEXT_END, LINE_START, LINE_END, WORD_EDGE, NO_WORD_EDGE = (1 << n for n in range(6))

DIGIT, SPACE = spans("09"), spans("\t\n", "\f\r", " ")
LOWER, UPPER = spans("az"), spans("AZ")
WORD = union(DIGIT, LOWER, UPPER, span("_"))
PERL = {"d": DIGIT, "s": SPACE, "w": WORD}
POSIX = {
    "alnum": union(DIGIT, LOWER, UPPER),
    "alpha": union(LOWER, UPPER),
    "ascii": spans("\0\x7f"),
    "blank": spans("\t", " "),
    "cntrl": spans("\0\x1f", "\x7f"),
    "digit": DIGIT,
    "graph": spans("!~"),
    "lower": LOWER,
    "print": spans(" ~"),
    "punct": spans("!/", ":@", "[`", "{~"),
    "space": spans("\t\r", " "),
    "upper": UPPER,
    "word": WORD,
    "xdigit": spans("09", "AF", "af"),
}
CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
EDGES = {"A": TEXT_START, "z": TEXT_END, "b": WORD_EDGE, "B": NO_WORD_EDGE}

QUANTIFIER = re.compile(r"(?:([*+?])|\{([0-9]+)(,?)([0-9]*)\})\??")
GROUP = re.compile(r"\?(?:P?<[A-Za-z_][A-Za-z0-9_]*>|([imsU]*)(?:-([imsU]+))?([:)]))")
CODE = re.compile(r"x\{([0-9A-Fa-f]{1,8})\}|x([0-9A-Fa-f]{2})|(0[0-7]{0,2}|[1-7][0-7]{1,2})")
CATEGORY = re.compile(r"[pP](?:([A-Z])|\{(\^?)([A-Za-z_]+)\})")
POSIX_NAME = re.compile(r"\[:(\^?)([a-z]+):\]")


@dataclass(frozen=True)
class OneOf:
    """A character of a set."""

    characters: Characters


@dataclass(frozen=True)
class Edge:
    """A place where a condition holds: one of the numbers from TEXT_START to NO_WORD_EDGE."""

    condition: int


@dataclass(frozen=True)
class Series:
    """Trees one after another."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Choice:
    """One of several trees."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Repetition:
    """A tree `least` times or more, up to `most` times if there is such a number."""

    item: Expression
    least: int
    most: int | None


Expression: TypeAlias = OneOf | Edge | Series | Choice | Repetition


def parse(pattern: str) -> Expression:
    """The tree of a regular expression.

    Raises:
        ModelError: It is none, or larger than RE2 or onnxla takes.
        UnsupportedError: RE2 has it, onnxla not.
    """
    return PatternParser(pattern).pattern()


class PatternParser:
    """Goes through a pattern once, from front to back."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.depth = 0
        self.flags: frozenset[str] = frozenset()

    def pattern(self) -> Expression:
        """The tree of the whole pattern."""
        if len(self.text) > MAX_LENGTH:
            self.fail(f"it has {len(self.text)} characters, more than {MAX_LENGTH}")
        tree = self.choice()
        if self.place < len(self.text):
            self.fail("it has a ) without a (")
        return tree

    def fail(self, why: str) -> NoReturn:
        """Raises: ModelError with the place."""
        raise ModelError(f"pattern {shown(self.text)} at character {self.place}: {why}")

    def found(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        """What fits a small expression here, if anything does. Goes on behind it."""
        match = expression.match(self.text, self.place)
        self.place = match.end() if match else self.place
        return match

    def take(self, text: str) -> bool:
        """Whether `text` comes here. Goes on behind it."""
        here = self.text.startswith(text, self.place)
        self.place += len(text) * here
        return here

    def next(self, missing: str) -> str:
        """The next character. Raises: ModelError that says what is missing."""
        if self.place >= len(self.text):
            self.fail(missing)
        self.place += 1
        return self.text[self.place - 1]

    def choice(self) -> Expression:
        """Everything up to the end of the group."""
        items = [self.series()]
        while self.take("|"):
            items.append(self.series())
        return Choice(tuple(items)) if len(items) > 1 else items[0]

    def series(self) -> Expression:
        """Everything up to the next alternative."""
        items: list[Expression] = []
        while self.place < len(self.text) and self.text[self.place] not in "|)":
            if self.take("\\Q"):
                quoted = self.text[self.place :].split("\\E", 1)[0]
                self.place += len(quoted) + 2
                items += map(self.literal, quoted)
            elif (tree := self.single()) is not None:
                items.append(tree)
            if items:  # in RE2 what follows a change of flags repeats what is before it
                items[-1] = self.repeated(items[-1])
        return Series(tuple(items))

    def repeated(self, item: Expression) -> Expression:
        """A tree with the quantifier that follows it, if one does."""
        match = self.found(QUANTIFIER)
        if match is None:
            return item
        if self.found(QUANTIFIER):
            self.fail("a repetition is repeated")
        if match[1]:
            return Repetition(item, int(match[1] == "+"), 1 if match[1] == "?" else None)
        least = count(match[2])
        most = count(match[4]) if match[4] else None if match[3] else least
        if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least):
            self.fail(f"{shown(match[0])} is no repetition of at most {MAX_REPEAT} times")
        return Repetition(item, least, most)

    def single(self) -> Expression | None:
        """A group, a set, a place or a character; nothing if it is a change of flags."""
        if QUANTIFIER.match(self.text, self.place):
            self.fail("there is nothing to repeat")
        character = self.next("")
        lines = "m" in self.flags
        match character:
            case "(":
                return self.group()
            case "[":
                return OneOf(self.set())
            case ".":
                return OneOf((0, END) if "s" in self.flags else others(span("\n")))
            case "^":
                return Edge(LINE_START if lines else TEXT_START)
            case "$":
                return Edge(LINE_END if lines else TEXT_END)
            case "\\" if self.text[self.place : self.place + 1] in EDGES:
                return Edge(EDGES[self.next("")])
            case "\\":
                characters = self.escaped()
                return OneOf(self.in_case(characters) if is_single(characters) else characters)
        return self.literal(character)

    def literal(self, character: str) -> Expression:
        """A character as it stands."""
        return OneOf(self.in_case(span(character)))

    def in_case(self, characters: Characters) -> Characters:
        """A set, in every case if that is asked for."""
        return folded(characters) if "i" in self.flags else characters

    def group(self) -> Expression | None:
        """What is behind a parenthesis, up to the end of the group."""
        around, self.depth = self.flags, self.depth + 1
        if self.depth > MAX_DEPTH:
            self.fail(f"more than {MAX_DEPTH} groups are in each other")
        if self.text.startswith("?", self.place):
            match = self.found(GROUP)
            if match is None:
                self.fail("RE2 has no such group")
            if match[3]:
                self.flags = (self.flags | set(match[1])) - set(match[2] or "")
            if match[3] == ")":
                self.depth -= 1
                return None
        tree = self.choice()
        if not self.take(")"):
            self.fail("it has a ( without a )")
        self.flags, self.depth = around, self.depth - 1
        return tree

    def set(self) -> Characters:
        """What is behind a bracket, up to its end."""
        negated = self.take("^")
        sets: list[Characters] = []
        while not sets or not self.take("]"):
            if (name := self.found(POSIX_NAME)) is not None:
                if name[2] not in POSIX:
                    self.fail(f"there are no characters called [:{name[2]}:]")
                sets.append(self.named(POSIX[name[2]], bool(name[1])))
                continue
            first = self.member()
            if is_single(first):
                first = self.in_case(self.range(first))
            sets.append(first)
        return others(union(*sets)) if negated else union(*sets)

    def range(self, first: Characters) -> Characters:
        """A range between brackets whose first character was read, or this character alone."""
        behind = self.text[self.place + 1 : self.place + 2]
        if behind in ("", "]") or not self.take("-"):
            return first
        last = self.member()
        if not is_single(last) or last < first:
            self.fail("this is no range of characters")
        return first[0], last[1]

    def member(self) -> Characters:
        """A character, or an escaped set, between brackets."""
        character = self.next("it has a [ without a ]")
        return self.escaped() if character == "\\" else span(character)

    def named(self, characters: Characters, negated: bool) -> Characters:
        """A set that has a name, or what is not in it; in every case if that is asked for."""
        return others(self.in_case(characters)) if negated else self.in_case(characters)

    def escaped(self) -> Characters:
        """What a backslash makes of what follows it: a character, or a set that has a name."""
        if (code := self.found(CODE)) is not None:
            number = int(code[3], 8) if code[3] else int(code[1] or code[2], 16)
            if number >= END:
                self.fail(f"there is no character {number}")
            return number, number + 1
        if (name := self.found(CATEGORY)) is not None:
            category = name[1] or name[3]
            if category not in categories():
                raise UnsupportedError(
                    f"pattern {shown(self.text)}: of Unicode's sets onnxla has the general"
                    f" categories, such as L and Lu, not {shown(category)}"
                )
            return self.named(categories()[category], (name[0][0] == "P") != bool(name[2]))
        character = self.next("it ends in a backslash")
        if character in CONTROL:
            return span(CONTROL[character])
        if character.lower() in PERL:
            return self.named(PERL[character.lower()], character.isupper())
        if character == "C":
            raise UnsupportedError(f"pattern {shown(self.text)}: \\C, any byte, is not supported")
        if not character.isascii() or character.isalnum():
            self.fail(f"RE2 has no \\{character}")
        return span(character)


def count(digits: str) -> int:
    """A number; if it has many digits, one that is too large."""
    return int(digits) if len(digits) < 9 else MAX_REPEAT + 1


def is_single(characters: Characters) -> bool:
    """Whether a set is one character."""
    return len(characters) == 2 and characters[1] == characters[0] + 1


def shown(text: str) -> str:
    """A text for a message, shortened in its middle."""
    return SHORT.repr(text)


SHORT = reprlib.Repr()
SHORT.maxstring = 80
