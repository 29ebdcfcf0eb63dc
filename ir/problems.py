"""What is wrong with a model, as sentences: a file may have a problem at every byte."""

from __future__ import annotations

from collections.abc import Iterable

from onnxla.ir.errors import ModelError

MAX_LISTED = 100


class Problems:
    """Sentences that are collected, of which the first are kept and the others counted."""

    def __init__(self, sentences: Iterable[str] = ()) -> None:
        self.kept: list[str] = []
        self.count = 0
        for sentence in sentences:
            self.add(sentence)

    def add(self, problem: str) -> None:
        """Adds a sentence."""
        self.count += 1
        if self.count <= MAX_LISTED:
            self.kept.append(problem)

    def listed(self) -> list[str]:
        """The first sentences, and how many more there were."""
        more = self.count - len(self.kept)
        return [*self.kept, f"and {more:,} more"] if more else self.kept

    def raise_any(self) -> None:
        """Raises: ModelError with the sentences, one a line, if there are any."""
        if self.count:
            raise ModelError("\n".join(self.listed()))
