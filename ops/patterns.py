"""Matching regular expressions in time that grows with the text alone.

A pattern comes from an untrusted model, so nothing is tried and taken back, as Python's `re` does,
for which some patterns take longer than anybody waits. All ways to match are followed at once: a
state of the machine is a set of places in the pattern. Machines are made as they are used.

Source: Thompson 1968, doi:10.1145/363347.363387.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from operator import or_
from typing import Any

from onnxla.ops.characters import Characters, contains
from onnxla.ops.limits import budget
from onnxla.ops.pattern_places import ACCEPT, Places
from onnxla.ops.pattern_syntax import (
    LINE_END,
    LINE_START,
    NO_WORD_EDGE,
    TEXT_END,
    TEXT_START,
    WORD_EDGE,
)

MAX_STATES = 10_000  # that a machine remembers
# How many steps count as the call of an operator, and take about as long. A step is a character on
# which the next state is known.
STEPS = 500
STEPS_A_STATE, STEPS_A_PLACE, STEPS_A_MATCH = 100, 20, 20

EDGE, NEWLINE, LETTER, OTHER = range(4)


class State(dict[Any, "State"]):
    """A set of places, as the bits of a number: the states that follow on what was read so far."""

    __slots__ = ("machine", "places")

    def __init__(self, places: int, machine: Machine) -> None:
        self.places = places
        self.machine = machine

    def __missing__(self, key: Any) -> State:
        character, conditions = key if isinstance(key, tuple) else (key, 0)
        places = self.machine.read(self.places, character, conditions)
        self[key] = following = self.machine.state(places)
        return following


class Machine:
    """States that follow each other when a text is read in one direction."""

    def __init__(self, read: Callable[[int, str, int], int]) -> None:
        """`read`: the places that follow some on a character, under conditions that hold then."""
        self.read = read
        self.states: dict[int, State] = {}

    def state(self, places: int) -> State:
        """The state of some places."""
        if len(self.states) > MAX_STATES:
            self.states.clear()
        if places not in self.states:
            self.states[places] = State(places, self)
        return self.states[places]


class Pattern:
    """A regular expression in RE2's syntax. Of several matches at one place, the longest counts."""

    def __init__(self, pattern: str) -> None:
        """Raises: ModelError or UnsupportedError if it is none, or too large."""
        places = Places(pattern)
        self.begin, self.conditions = 1 << places.start, places.conditions
        self.steps = [1 << step for step in places.steps]
        self.steps_back = [0] * len(self.steps)
        self.jumps = places.jumps
        self.jumps_back: list[list[tuple[int, int]]] = [[] for _ in self.steps]
        self.having: dict[Characters, int] = {}  # the places from which a set of characters leads
        for place, (characters, step) in enumerate(zip(places.sets, places.steps, strict=True)):
            if characters:
                self.having[characters] = self.having.get(characters, 0) | 1 << place
                self.steps_back[step] |= 1 << place
            for to, condition in places.jumps[place]:
                self.jumps_back[to].append((place, condition))
        self.readers: dict[str, int] = {}  # the places from which a character leads
        self.ahead = Machine(self._ahead)
        self.back = Machine(partial(self._back, 0))
        self.search = Machine(partial(self._back, 1 << ACCEPT))
        self.firsts: dict[int, int] = {}
        self.spent = 0

    def full_match(self, text: str) -> bool:
        """Whether all of a text matches. Raises: ModelError if that takes too long."""
        (first,) = deque(self._backwards(self.back, text, self._held(text)), maxlen=1)
        return bool(first.places & self.begin)

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """The begin and end of each match that is not empty, from front to back.

        Raises:
            ModelError: That takes too long.
        """
        # The places from which there is a way to the end of a match, for each character: so nothing
        # is read beyond the longest match, and no match is looked for where none begins.
        held = self._held(text)
        alive = [*self._backwards(self.search, text, held)][::-1]
        end = 0
        for begin, state in enumerate(alive):
            if begin >= end and state.places & self.begin:
                end = self._longest(text, begin, alive, held)
                if end > begin:
                    yield begin, end

    def _longest(self, text: str, begin: int, alive: list[State], held: list[int]) -> int:
        """The end of the longest match that begins at a character."""
        state = self._first(held[begin] if held else 0)
        end = place = begin
        for place in range(begin, len(text)):
            state = state[(text[place], held[place + 1]) if held else text[place]]
            if not state.places & alive[place + 1].places:
                break
            if state.places & 1 << ACCEPT:
                end = place + 1
        self._spend(STEPS_A_MATCH + place - begin)
        return end

    def _first(self, conditions: int) -> State:
        """The state before a match, where some conditions hold."""
        if conditions not in self.firsts:
            self.firsts[conditions] = self._closed(self.begin, self.jumps, conditions)
        return self.ahead.state(self.firsts[conditions])

    def _backwards(self, machine: Machine, text: str, held: list[int]) -> Iterator[State]:
        """From the end of a text on: the places from which there is a way to the end of a match."""
        self._spend(len(text))
        last = self._closed(1 << ACCEPT, self.jumps_back, held[-1] if held else 0)
        keys: Iterable[Any] = reversed(text)
        if held:
            keys = zip(keys, reversed(held[:-1]), strict=True)
        return itertools.accumulate(keys, State.__getitem__, initial=machine.state(last))

    def _ahead(self, places: int, character: str, conditions: int) -> int:
        read = places & self._readers(character)
        return self._closed(joined(self.steps, read), self.jumps, conditions)

    def _back(self, ends: int, places: int, character: str, conditions: int) -> int:
        read = joined(self.steps_back, places) & self._readers(character)
        return self._closed(read | ends, self.jumps_back, conditions)

    def _readers(self, character: str) -> int:
        """The places from which a character leads."""
        if character not in self.readers:
            self._spend(STEPS_A_PLACE * len(self.having))
            having = (places for each, places in self.having.items() if contains(each, character))
            self.readers[character] = reduce(or_, having, 0)
        return self.readers[character]

    def _closed(self, places: int, jumps: list[list[tuple[int, int]]], conditions: int) -> int:
        """Places, and those to which one gets from them without a character."""
        pending = [*bits(places)]
        seen = set(pending)
        while pending:
            for to, condition in jumps[pending.pop()]:
                if to not in seen and condition & conditions == condition:
                    seen.add(to)
                    pending.append(to)
        self._spend(STEPS_A_STATE + STEPS_A_PLACE * len(seen))
        return reduce(or_, (1 << place for place in seen), 0)

    def _held(self, text: str) -> list[int]:
        """The conditions that hold before each character, and at the end; [] if it has none."""
        if not self.conditions:
            return []
        kinds = [EDGE, *map(kind, text), EDGE]
        table = [[self.conditions & conditions(a, b) for b in range(4)] for a in range(4)]
        return [table[before][after] for before, after in itertools.pairwise(kinds)]

    def _spend(self, steps: int) -> None:
        """Counts steps. Raises: ModelError if there were too many."""
        self.spent += steps
        if self.spent >= STEPS:
            budget().count_call(self.spent // STEPS)
            self.spent %= STEPS


def joined(masks: list[int], chosen: int) -> int:
    """The bits of those numbers that are chosen by the bits of another."""
    return reduce(or_, (masks[place] for place in bits(chosen)), 0)


def bits(number: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    for place, byte in enumerate(number.to_bytes((number.bit_length() + 7) // 8, "little")):
        if byte:
            yield from (8 * place + bit for bit in range(8) if byte >> bit & 1)


def kind(character: str) -> int:
    """What a character is to conditions: of a word, as RE2 knows them, or the end of a line."""
    if character == "\n":
        return NEWLINE
    return LETTER if character == "_" or (character.isascii() and character.isalnum()) else OTHER


def conditions(before: int, after: int) -> int:
    """The conditions that hold between two characters of some kinds."""
    return (
        TEXT_START * (before == EDGE)
        | TEXT_END * (after == EDGE)
        | LINE_START * (before in (EDGE, NEWLINE))
        | LINE_END * (after in (EDGE, NEWLINE))
        | (NO_WORD_EDGE if (before == LETTER) == (after == LETTER) else WORD_EDGE)
    )
