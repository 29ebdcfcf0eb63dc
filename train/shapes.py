"""How many shapes batches had, and how long the step was compiled for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from onnxla.train.lengths import symbolic
from onnxla.train.reading import Reading, batch_dimensions

MANY = 4  # shapes, from which on there is a note
MULTIPLE = 16  # that the note advises


@dataclass
class WatchedStep:
    """A compiled step, and the time that it took where a batch's shapes were new.

    Attributes:
        step: The step, whose last two arguments are inputs by name and targets.
        shapes: By the shapes that were met, those of the inputs by name.
        started: When the first step began.
        compiling: Seconds that steps of new shapes took, which is the time to compile them: what
            is computed is waited for later.
    """

    step: Callable[..., Any]
    shapes: dict[Any, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    started: float = 0.0
    compiling: float = 0.0

    def __call__(self, *args: Any) -> Any:
        """The step."""
        key = tuple(map(np.shape, jax.tree.leaves(args[-2:])))
        if key in self.shapes:
            return self.step(*args)
        begun = time.perf_counter()
        self.started = self.started or begun
        result = self.step(*args)
        self.compiling += time.perf_counter() - begun
        self.shapes[key] = {name: np.shape(value) for name, value in args[-2].items()}
        return result

    def note(self, reading: Reading) -> str:
        """What to say of the shapes, if they are many."""
        count = len(self.shapes)
        if count <= MANY:
            return ""
        seconds = time.perf_counter() - self.started
        text = f"batches had {count} shapes: {count} compiles, {self.compiling:.0f} of "
        return f"{text}{seconds:.0f} s{self.advice(reading)}"

    def advice(self, reading: Reading) -> str:
        """How there would be fewer shapes."""
        samples = batch_dimensions(reading.module, reading.batch_axis)
        multiples = {}
        for name, places in symbolic(reading.module).items():
            seen = [
                shapes[key][axis]
                for shapes in self.shapes.values()
                for key, axis in places
                if key in shapes
            ]
            if name not in samples and len({*seen}) > 1:
                multiples[name] = 2 * reading.bucket.get(name, MULTIPLE // 2)
        return f"; bucket={multiples} would make fewer" if multiples else ""
