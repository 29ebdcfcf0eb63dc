"""A token of greedy text, beside ONNX Runtime's loop, which feeds the present back as the past.

Decoders have random weights and a batch of one; both sides are in one process, take turns and make
the same tokens. Seconds are those of a whole call, its prompt included, by the new tokens. "First"
is the first call, "compiled" how many programs that and all later calls of the row compiled; the
cache is as long as prompt and new tokens, rounded up to a multiple of 128.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import jax.monitoring
import numpy as np

import onnxla
from timing import beside, in_turn, once

sys.path.append(str(Path(__file__).parents[1] / "tests"))

PROMPTS, NEW = (7, 100), (64, 500)


def decoders() -> dict[str, Callable[[], bytes]]:
    """Files by what they are."""
    from support.decoders import Sizes, gpt, grouped, llama

    sizes = {"words": 16_000, "width": 512, "heads": 8, "layers": 8, "longest": 1024, "scale": 0.05}
    few = Sizes(**sizes, key_heads=2)  # type: ignore[arg-type]
    return {
        "learned positions": lambda: gpt(Sizes(**sizes, key_heads=8)),  # type: ignore[arg-type]
        "rotary positions, 2 of 8 heads": lambda: llama(few),
        "GroupQueryAttention, 2 of 8 heads": lambda: grouped(few),
    }


def measure(runs: int = 15) -> Iterator[dict[str, Any]]:
    """A row for each decoder, prompt and number of new tokens."""
    from support.decoders import Peer

    compiled: list[str] = []

    def listen(event: str, seconds: float, **what: Any) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    for name, build in decoders().items():
        file = build()
        peer = Peer(file)
        for length, new in product(PROMPTS, NEW):
            module = onnxla.load(file)
            prompt = np.random.default_rng(0).integers(0, 16_000, length)
            compiled.clear()

            def ours(module: Any = module, prompt: Any = prompt, new: int = new) -> Any:
                return module.generate(prompt, max_new_tokens=new, progress=False)

            def theirs(peer: Any = peer, prompt: Any = prompt, new: int = new) -> Any:
                return peer.greedy(prompt, new)[0]

            start = time.perf_counter()
            made = ours()
            first = time.perf_counter() - start
            same = np.array_equal(made[0], theirs())
            times = in_turn(runs, once(ours), once(theirs))
            yield {
                "decoder": name,
                "prompt": length,
                "new": new,
                "first": first,
                "compiled": len(compiled),
                **beside("ONNX Runtime", *([t / new for t in side] for side in times)),
                "goal": 1.0,
                "same tokens": "yes" if same else "no",
            }
