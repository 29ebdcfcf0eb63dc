"""Regular expressions as places, between which characters and conditions lead.

Source: Thompson 1968, doi:10.1145/363347.363387.
"""

from __future__ import annotations

from onnxla.ir.errors import ModelError
from onnxla.ops.characters import Characters
from onnxla.ops.pattern_syntax import (
    MAX_REPEAT,
    Choice,
    Edge,
    Expression,
    OneOf,
    Repetition,
    Series,
    parse,
    shown,
)

MAX_PLACES = 4000  # with repetitions written out
MAX_BUILT = 5 * MAX_PLACES  # trees, some of which make no places
ACCEPT = 0  # the place behind a pattern


class Places:
    """A pattern as places, between which a character or a condition leads.

    Attributes:
        start: The place before the pattern.
        sets: By place: the characters that lead on from it, if such do.
        steps: By place: where these characters lead.
        jumps: By place: where one gets without a character, and the conditions for it, 0 for none.
        conditions: All of these, as one number.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.sets: list[Characters] = [()]
        self.steps: list[int] = [ACCEPT]
        self.jumps: list[list[tuple[int, int]]] = [[]]
        self.conditions = self.built = 0
        self.start = self.build(parse(pattern), ACCEPT)

    def add(self, characters: Characters, step: int, jumps: list[tuple[int, int]]) -> int:
        """A new place."""
        self.sets.append(characters)
        self.steps.append(step)
        self.jumps.append(jumps)
        return len(self.sets) - 1

    def build(self, tree: Expression, then: int, times: int = 1) -> int:
        """The place before a tree which leads to the place `then`, and is repeated so often."""
        self.built += 1
        if len(self.sets) > MAX_PLACES or self.built > MAX_BUILT or times > MAX_REPEAT:
            raise ModelError(
                f"pattern {shown(self.pattern)} is too large: it has more than {MAX_PLACES} places,"
                f" or repeats more than {MAX_REPEAT} times what it repeats"
            )
        match tree:
            case OneOf():
                return self.add(tree.characters, then, [])
            case Edge():
                self.conditions |= tree.condition
                return self.add((), ACCEPT, [(then, tree.condition)])
            case Series():
                for item in reversed(tree.items):
                    then = self.build(item, then, times)
                return then
            case Choice():
                return self.either(*(self.build(item, then, times) for item in tree.items))
            case Repetition():
                return self.repeat(tree, then, times)

    def repeat(self, tree: Repetition, then: int, times: int) -> int:
        """The place before a repetition."""
        times *= max(tree.least, tree.most or 1, 1)
        last = then
        if tree.most is None:
            last = self.either(then)
            again = self.build(tree.item, last, times)
            self.jumps[last].append((again, 0))
            last = again if tree.least else last
        for _ in range((tree.most or tree.least) - tree.least):
            last = self.either(self.build(tree.item, last, times), then)
        for _ in range(tree.least - (tree.most is None)):
            last = self.build(tree.item, last, times)
        return last

    def either(self, *places: int) -> int:
        """A place from which one gets to each of the others."""
        return self.add((), ACCEPT, [(place, 0) for place in places])
