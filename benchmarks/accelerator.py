"""One training step on a GPU, beside `torch.compile` in a process of its own.

A step is as in `training.py`, in float32 (exact products on both sides), in tensorfloat32, and with
products in bfloat16 (`module.autocast`, `torch.autocast`). A run is ten steps, times are of one.
All that is to be measured is compiled before. XLA records its kernels and starts them as one;
`torch.compile` in its default mode starts each, which takes longer than the kernels do where it
needs more time in bfloat16 than in tensorfloat32. Where JAX finds no GPU nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from timing import beside, in_turn, seconds
from training import example, jitted
from worker import Worker

CASES = (  # model, batch, length of texts, precision, goal
    ("bert_base", 32, 128, "bfloat16", 1.0),
    ("bert_base", 32, 128, "tensorfloat32", None),
    ("bert_base", 32, 128, "float32", None),
    ("resnet50", 64, 0, "bfloat16", None),
    ("vit_small", 64, 0, "bfloat16", None),
    ("gpt2", 8, 512, "bfloat16", None),
)
STEPS = 10


def make_steps(name: str, sizes: tuple[int, int], precision: str) -> Callable[[], None]:
    """`STEPS` of our steps, the first of which are done."""
    half = precision == "bfloat16"
    case = example(name, sizes, matmul_precision=None if half else precision)
    if half:
        case = replace(case, module=case.module.autocast())
    step, state = jitted(case)
    inputs, targets = jax.tree.map(jnp.asarray, (case.inputs, case.targets))

    def steps() -> None:
        nonlocal state
        for _ in range(STEPS):
            state = step(state, inputs, targets)
        jax.block_until_ready(state)

    steps()
    return steps


def measure(runs: int = 15, torch_python: str = "") -> Iterator[dict[str, Any]]:
    """A row for each model and precision."""
    if jax.default_backend() != "gpu":
        yield {"note": f"not measured: JAX runs on {jax.default_backend()}, not on a GPU"}
        return
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        theirs = [
            pool.submit(Worker, torch_python, "torch_worker.py", *case[:4], STEPS) for case in CASES
        ]
        ours = [make_steps(name, sizes, how) for name, *sizes, how, _ in CASES]
        workers = [stack.enter_context(worker.result()) for worker in theirs]
        [*pool.map(Worker.__call__, workers)]
        for (name, batch, length, precision, goal), mine, worker in zip(
            CASES, ours, workers, strict=True
        ):
            times = in_turn(runs, lambda run=mine: seconds(run), worker)
            each = ([time / STEPS for time in side] for side in times)
            model = f"{name}, b{batch}" + (f" x {length}" if length else "")
            row = beside("torch.compile", *each)
            yield {"model": model, "precision": precision, **row, "goal": goal}
