"""One training step, beside eager PyTorch in a process of its own.

A step is the loss (cross entropy), its gradient by all that trains, and SGD's update; batch
normalization uses the batch's statistics. Ours is `jax.jit` of `module.apply_train`, with donated
parameters: `jit` as a model is loaded by default, `unrolled` with `roll=False` where that differs,
`stacked` with the parameters of repeated blocks as one array (`module.stacked`). `fit` is the step
of `onnxla.fit` with optax's SGD. BERT's logits are its pooled output, GPT-2's those of the next
word at each place. Neither side drops values. PyTorch's attention is its fused one; its OpenMP
threads wait passively, which is several times as fast where other processes share the cores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import onnxla
from models import MODELS, feeds
from onnxla.train.objective import make_objective
from onnxla.train.stacking import find_stacks
from onnxla.train.step import look_ahead, make_step
from timing import beside, in_turn, once
from worker import Worker

BATCHES = {  # and the length of texts
    "mobilenet_v2": (8, 0),
    "resnet50": (4, 0),
    "vit_small": (4, 0),
    "bert_base": (4, 128),
    "gpt2": (2, 128),
}
GOAL = 0.8
RATE = 1e-3
SLOW = 1.0  # seconds; steps that take longer run less often
WAYS = ("jit", "unrolled", "stacked", "fit")


@dataclass(frozen=True)
class Example:
    """A model, a batch, and the name of its logits."""

    module: onnxla.Module
    inputs: dict[str, np.ndarray]
    targets: np.ndarray
    logits: str


def example(name: str, sizes: tuple[int, int] | None = None, **options: Any) -> Example:
    """A model and random data, a batch as `BATCHES` has it; options are those of `onnxla.load`."""
    batch, length = sizes or BATCHES[name]
    unfolded = {} if length or name == "vit_small" else {"folded": False}
    model = MODELS[name](**unfolded)
    module, inputs = onnxla.load(model, **options), feeds(model, batch, length)
    logits = module.output_names[-1]
    kind = jax.eval_shape(
        functools.partial(module.apply, outputs=[logits]), module.params, **inputs
    )
    rng = np.random.default_rng(1)
    return Example(module, inputs, rng.integers(0, kind.shape[-1], kind.shape[:-1]), logits)


Step = tuple[Callable[..., Any], dict[str, Any]]
"""A jitted function from a state, inputs and targets to the next state; and the first state."""


def jitted(case: Example, *, stacked: bool = False, **options: Any) -> Step:
    """The step as a user writes it; options are those of `jax.jit`."""
    module, outputs = case.module, [case.logits]
    train, frozen = module.partition()

    def loss(params: dict[str, Any], frozen: dict[str, Any], inputs: Any, targets: Any) -> Any:
        values, updates = module.apply_train({**frozen, **params}, inputs, outputs=outputs)
        return onnxla.losses.cross_entropy(values, targets), updates

    def step(state: dict[str, Any], inputs: Any, targets: Any) -> dict[str, Any]:
        train, frozen = state["train"], state["frozen"]
        gradient, updates = jax.grad(loss, has_aux=True)(train, frozen, inputs, targets)
        train = jax.tree.map(lambda p, g: p - RATE * g, train, gradient)
        return {"train": train, "frozen": {**frozen, **updates}}

    if stacked:
        train, frozen = (module.stacked(part, outputs) for part in (train, frozen))
    state = jax.tree.map(jnp.copy, {"train": train, "frozen": frozen})
    return jax.jit(step, donate_argnums=0, **options), state


def of_fit(case: Example) -> Step:
    """The step that `onnxla.fit` makes."""
    import optax

    module, optimizer = case.module, optax.sgd(RATE)
    train, _ = module.partition()
    objective = make_objective(module, onnxla.losses.cross_entropy, [case.logits], [*train])
    statistics, _ = look_ahead(objective, case.inputs, case.targets)
    stacks = find_stacks(objective, train, module.roles, optimizer)
    frozen = {k: v for k, v in module.params.items() if k not in {*train, *statistics}}
    params = stacks.stacked(jax.tree.map(jnp.copy, train))
    state = {
        "params": params,
        "statistics": {name: jnp.copy(module.params[name]) for name in statistics},
        "optimizer": optimizer.init(params),
    }
    step, frozen = make_step(objective, optimizer, 0, False), stacks.stacked(frozen)
    return lambda state, inputs, targets: step(state, frozen, 0, inputs, targets)[0], state


def runner(case: Example, step: Step) -> Callable[[], object]:
    """One step after the other, the first of which is done."""
    function, state = step
    inputs, targets = jax.tree.map(jnp.asarray, (case.inputs, case.targets))

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(function(state, inputs, targets))

    run()
    return run


def make_run(name: str, way: str) -> Callable[[], object]:
    """One of our steps."""
    case = example(name, roll=False if way == "unrolled" else None)
    step = of_fit(case) if way == "fit" else jitted(case, stacked=way == "stacked")
    return runner(case, step)


def ways(name: str) -> list[str]:
    """Those of which no two are the same program: without loops there is less to choose."""
    case = example(name)
    stacks = case.module.program.stacks((case.logits,))
    return [*WAYS] if stacks.members else ["jit", "fit"]


def measure(runs: int = 15, torch_python: str = "") -> Iterator[dict[str, Any]]:
    """A row for each model and each way; of `runs` / 3, 5 at least, where a step takes seconds."""
    for name, sizes in BATCHES.items():
        mine = ways(name)
        ours = [make_run(name, way) for way in mine]
        with Worker(torch_python, "torch_worker.py", name, *sizes) as theirs:
            few = max(5, runs // 3) if theirs() > SLOW else runs
            *times, peers = in_turn(few, *map(once, ours), theirs)
        batch = f"{name}, b{sizes[0]}" + (f" x {sizes[1]}" if sizes[1] else "")
        for way, seconds in zip(mine, times, strict=True):
            row = beside("PyTorch", seconds, peers)
            yield {"model": batch, "step": way, "runs": few, **row, "goal": GOAL}
