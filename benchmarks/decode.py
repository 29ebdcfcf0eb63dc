"""A token of greedy text, beside ONNX Runtime's loop, which feeds the present back as the past.

Decoders have random weights and a batch of one; both sides are in one process, take turns and make
the same tokens. Seconds are those of a whole call, its prompt included, by the new tokens. "First"
is the first call, "compiled" how many programs that and all later calls of the row compiled; the
cache is as long as prompt and new tokens, rounded up to a multiple of 128. Bytes are the growth of
the peak resident set (Linux: VmHWM) of a process of each side that loads the file and makes the
tokens once, after its imports: compiling counts, of the file there are 130 to 150 MiB.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import jax.monitoring
import numpy as np

import onnxla
from load import in_process
from timing import beside, in_turn, once

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.decoders import Peer, Sizes, gpt, grouped, llama, merged, recurrent

PROMPTS, NEW = (7, 100), (64, 500)
WORDS, WIDTH, FRAMES = 16_000, 512, 100
SIZES = {"words": WORDS, "width": WIDTH, "heads": 8, "layers": 8, "longest": 1024, "scale": 0.05}
FEW = Sizes(**SIZES, key_heads=2)  # type: ignore[arg-type]
MANY = Sizes(**SIZES, key_heads=8)  # type: ignore[arg-type]
DECODERS: dict[str, Callable[[], bytes]] = {
    "learned positions": lambda: gpt(MANY),
    "rotary positions, 2 of 8 heads": lambda: llama(FEW),
    "GroupQueryAttention, 2 of 8 heads": lambda: grouped(FEW),
    "of an encoder's 100 frames, merged": lambda: merged(
        MANY, positions="range", masked=False, crossed=True
    ),
    "states of convolutions and GRUs": lambda: recurrent(MANY),
}
IMPORTS = "import decode, jax, onnxla, onnxruntime; jax.devices()"


def frames(name: str) -> dict[str, np.ndarray]:
    """What an encoder would give the decoder that has one."""
    if "encoder" not in name:
        return {}
    states = np.random.default_rng(3).standard_normal((1, FRAMES, WIDTH))
    return {"encoder_hidden_states": states.astype(np.float32)}


def ours(file: Any, name: str, prompt: int, new: int) -> Callable[[], Any]:
    """A call of a file or its path."""
    module = onnxla.load(file)
    ids = np.random.default_rng(0).integers(0, WORDS, prompt)
    options: dict[str, Any] = {"inputs": frames(name), "max_new_tokens": new, "progress": False}
    return lambda: module.generate(ids, **options)[0]


def theirs(file: Any, name: str, prompt: int, new: int) -> Callable[[], Any]:
    """ONNX Runtime's loop over a file or its path."""
    peer = Peer(file)
    ids = np.random.default_rng(0).integers(0, WORDS, prompt)
    return lambda: peer.greedy(ids, new, **frames(name))[0]


def memory(side: str, path: Path, *what: object) -> int:
    """The bytes that a side takes, in a process of its own."""
    return in_process(IMPORTS, f"decode.{side}(path, *{what!r})()", path)[1]


def measure(runs: int = 15) -> Iterator[dict[str, Any]]:
    """A row for each decoder, prompt and number of new tokens."""
    compiled: list[str] = []

    def listen(event: str, seconds: float, **what: Any) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    for name, build in DECODERS.items():
        file = build()
        for length, new in product(PROMPTS, NEW):
            what = name, length, new
            sides = ours(file, *what), theirs(file, *what)
            compiled.clear()
            start = time.perf_counter()
            made = sides[0]()
            first = time.perf_counter() - start
            same = np.array_equal(made, sides[1]())
            times = in_turn(runs, *map(once, sides))
            programs = len(compiled)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "decoder.onnx"
                path.write_bytes(file)
                taken = [memory(side, path, *what) for side in ("ours", "theirs")]
            yield {
                "decoder": name,
                "prompt": length,
                "new": new,
                "first": first,
                "compiled": programs,
                **beside("ONNX Runtime", *([t / new for t in side] for side in times)),
                "goal": 1.0,
                "bytes": taken[0],
                "ONNX Runtime bytes": taken[1],
                "same tokens": "yes" if same else "no",
            }
