"""Where the time of a call and of a training step goes, by what XLA's operations are.

Calls are those of the part on inference, steps those of the part on training (`jit`). An operation
that XLA fused counts as the first of these that is in it: a product or a convolution, a reduction,
a copy in another order (of nothing else, or of what is computed on the way), anything else. Times
are the sum over operations, as JAX's profiler has them; some run side by side.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.backend import get_backend
from jax.profiler import ProfileData

import inference
import training
from models import MODELS

KINDS = {
    "products": {"dot", "convolution"},
    "reductions": {"reduce", "reduce-window", "select-and-scatter"},
    "copies": {"transpose", "copy", "pad", "concatenate", "reverse"},
}
RUNS = 5

Program = tuple[str, Callable[[], object]]
"""What XLA compiled, as text, and a run of it."""


def operations(hlo: str) -> dict[str, set[str]]:
    """By name of an operation of a compiled program, what is in it."""
    inside: dict[str, set[str]] = {}
    called: dict[str, list[str]] = {}
    own: dict[str, tuple[str, list[str]]] = {}
    computation = ""
    for line in hlo.splitlines():
        if head := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            computation = head.group(1)
            inside[computation], called[computation] = set(), []
        elif found := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = .*?[\s)\]}]([a-z][\w\-]*)\(", line):
            name, op = found.groups()
            calls = re.findall(r"calls=%?([\w.\-]+)", line)
            inside[computation].add(op)
            called[computation] += calls
            own[name] = op, calls

    def everything(name: str) -> set[str]:
        return inside[name].union(*map(everything, called[name]))

    return {name: {op}.union(*map(everything, calls)) for name, (op, calls) in own.items()}


def kind_of(ops: set[str]) -> str:
    """The column of an operation."""
    return next((kind for kind, some in KINDS.items() if not some.isdisjoint(ops)), "other")


def shares(hlo: str, run: Callable[[], object]) -> dict[str, float]:
    """What part of the time each kind takes; and the sum, in seconds."""
    kinds = {name: kind_of(ops) for name, ops in operations(hlo).items()}
    run()
    times: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(RUNS):
                run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        for plane in ProfileData.from_file(str(path)).planes:
            for event in (event for line in plane.lines for event in line.events):
                loops = ("while", "call", "conditional")
                if "hlo_op" in dict(event.stats) and not event.name.startswith(loops):
                    times[kinds.get(event.name, "other")] += event.duration_ns / 1e9 / RUNS
    total = times.total()
    return {"sum": total} | {f"{kind} ratio": times[kind] / total for kind in (*KINDS, "other")}


def call(name: str) -> Program:
    """A call. What `Module` compiles is its own affair, so XLA is asked what it has."""
    jax.clear_caches()
    data, inputs, _ = inference.built(name)
    run = inference.load(data, inputs)
    run()
    programs = [made.hlo_modules()[0] for made in get_backend("cpu").live_executables()]
    return max((program.to_string() for program in programs), key=len), run


def step(name: str) -> Program:
    """A training step."""
    case = training.example(name)
    function, state = training.jitted(case)
    inputs, targets = jax.tree.map(jnp.asarray, (case.inputs, case.targets))
    compiled = function.lower(state, inputs, targets).compile()

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(state, inputs, targets))

    return compiled.as_text(), run


def measure() -> Iterator[dict[str, Any]]:
    """A row for each model's call and step."""
    for name in MODELS:
        for what, make in (("call", call), ("step", step)):
            yield {"model": name, "what": what, **shares(*make(name))}
