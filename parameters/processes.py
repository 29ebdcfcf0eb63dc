"""Several processes that work on one model: each runs the same program, as JAX has it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from onnxla.ir.errors import OnnxlaError

LONGEST = 2000  # bytes of a message that processes pass on


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def can_end_together() -> bool:
    """Whether several processes agree on a step to end at, which JAX's preemption service does."""
    return bool(jax.config.jax_enable_preemption_service)  # type: ignore[attr-defined]


def are_told_to_end(step: int) -> bool:
    """Whether this is the step at which all processes end, since one of them got a SIGTERM.

    All ask at each step. It is one that none of them has passed.
    """
    return bool(multihost_utils.reached_preemption_sync_point(step))


def first_problem(text: str = "") -> str:
    """What the first process that has a problem says of it, in every process; "" if none has one.

    Each waits here for all others.
    """
    if jax.process_count() == 1:
        return text
    row = np.zeros(LONGEST, np.uint8)
    said = text.encode()[:LONGEST]
    row[: len(said)] = [*said]
    every = np.asarray(multihost_utils.process_allgather(row))
    problems = (bytes(each).rstrip(b"\0").decode(errors="replace") for each in every)
    return next(filter(None, problems), "")


def differing(texts: Mapping[str, str]) -> list[str]:
    """The names of texts that are not the same in all processes. Each waits here for all others."""
    if jax.process_count() == 1:
        return []
    digests = [hashlib.sha256(text.encode()).digest() for text in texts.values()]
    rows = np.stack([np.frombuffer(digest, np.uint8) for digest in digests])
    every = np.asarray(multihost_utils.process_allgather(rows))
    return [name for i, name in enumerate(texts) if (every[:, i] != every[0, i]).any()]


@contextlib.contextmanager
def together(kind: type[Exception] = OnnxlaError) -> Iterator[None]:
    """Raises an error in every process if one has one, so that none waits for it.

    Within it, processes may not wait for each other.

    Args:
        kind: What the others raise, with the message of that one.
    """
    problem: Exception | None = None
    try:
        yield
    except Exception as error:
        problem = error
    said = first_problem("" if problem is None else str(problem) or type(problem).__name__)
    if problem is not None:
        raise problem
    if said:
        raise kind(f"another process: {said}")
