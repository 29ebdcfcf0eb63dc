"""A language model of 8-bit integers learns another style through low-rank adapters.

flan-t5-small, distilled to write titles of what a programmer did, as ONNX Runtime's dynamic
quantizer wrote it: every product is a MatMulInteger. Adapters beside the decoder's learn titles of
the form `fix(parser): handle empty input`. What is measured: the loss on tasks with other words
than those trained on, before and after; that ONNX Runtime computes the same of the saved file; and
the same with the adapters in its own format, switched on and off in one session.

    python benchmarks/finetuning/lora_integers.py [--steps 60]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime
import optax

import onnxla
from onnxla.commands.downloads import fetch

BATCH, RANK, END = 8, 4, 1
# What is said of each kind of work, and what it is called in a title.
KINDS = {
    "fix": "The agent found a bug in the {place} and repaired it, so that it can {what}.",
    "feat": "A new ability was added to the {place}: from now on it can {what}.",
    "test": "The agent wrote unit tests for the {place} which check that it can {what}.",
    "docs": "The readme now explains how the {place} is used to {what}.",
}
PLACES = ("parser", "server", "client", "database", "scheduler", "editor", "compiler", "cache")
DEEDS = (
    *("handle empty input", "reload settings", "write log files", "sort the results"),
    *("close open files", "accept long names", "report errors early", "retry failed requests"),
)
HELD_OUT = (("network", "router", "login page"), ("restore backups", "skip hidden folders"))


class Tokenizer:
    """The most probable pieces of a text, by the unigram model of a tokenizer's file."""

    def __init__(self, path: Path) -> None:
        vocabulary = json.loads(path.read_text())["model"]["vocab"]
        self.pieces = {piece: (index, score) for index, (piece, score) in enumerate(vocabulary)}
        self.longest = max(map(len, self.pieces))

    def __call__(self, text: str) -> list[int]:
        """Numbers of the pieces, and the end."""
        text = "▁" + text.replace(" ", "▁")
        best: list[tuple[float, list[int]]] = [(0.0, [])]
        for end in range(1, len(text) + 1):
            found = (-math.inf, [2])
            for start in range(max(0, end - self.longest), end):
                index, score = self.pieces.get(text[start:end], (2, -30.0))
                total = best[start][0] + score
                if total > found[0]:
                    found = (total, [*best[start][1], index])
            best.append(found)
        return [*best[-1][1], END]


def padded(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one length, and where they have something."""
    length = max(map(len, rows))
    numbers = np.int64([row + [0] * (length - len(row)) for row in rows])
    return numbers, np.int64([[1] * len(row) + [0] * (length - len(row)) for row in rows])


def examples(
    places: tuple[str, ...], deeds: tuple[str, ...], tokens: Tokenizer, encoder: onnxla.Module
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The decoder's inputs, the tokens to predict, and how much each of them counts."""
    said, titles = [], []
    for kind, place, what in itertools.product(KINDS, places, deeds):
        said.append(tokens(KINDS[kind].format(place=place, what=what)))
        titles.append(tokens(f"{kind}({place}): {what}"))
    (texts, mask), (wanted, counts) = padded(said), padded(titles)
    states = encoder({"input_ids": texts, "attention_mask": mask})
    # The decoder is shown the title so far, behind a 0.
    shown = np.concatenate([np.zeros_like(wanted[:, :1]), wanted[:, :-1]], axis=1)
    names = ("input_ids", "encoder_hidden_states", "encoder_attention_mask")
    inputs = dict(zip(names, (shown, np.asarray(states), mask), strict=True))
    return inputs, wanted, counts.astype(np.float32)


def loss_of(logits: jax.Array, wanted: np.ndarray, counts: np.ndarray) -> jax.Array:
    """Cross entropy of a token of a title, on average."""
    each = optax.softmax_cross_entropy_with_integer_labels(logits, wanted)
    return (each * counts).sum() / counts.sum()


def logits_of(run: Callable[[dict[str, np.ndarray]], Any], inputs: dict) -> np.ndarray:
    """What a model makes of its inputs, row by row.

    Activations are rounded on a grid that all rows of a batch share. Where one is half way between
    two integers, two runtimes round it to different sides, and layers after it make more of that.
    """
    rows = [
        {name: x[[row]] for name, x in inputs.items()} for row in range(len(inputs["input_ids"]))
    ]
    return np.concatenate([np.asarray(run(row)) for row in rows])


def train(module: onnxla.Module, data: tuple, steps: int) -> onnxla.Module:
    """The module with trained adapters."""
    trained, frozen = module.partition()
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0, 2e-3, steps // 10, steps))
    state, rng = optimizer.init(trained), np.random.default_rng(0)

    @jax.jit
    def step(trained, state, inputs, wanted, counts):  # type: ignore[no-untyped-def]
        def loss(trained):  # type: ignore[no-untyped-def]
            logits, _ = module.apply_train({**trained, **frozen}, inputs)
            return loss_of(logits, wanted, counts)

        value, slope = jax.value_and_grad(loss)(trained)
        updates, state = optimizer.update(slope, state, trained)
        return optax.apply_updates(trained, updates), state, value

    inputs, wanted, counts = data
    for _ in range(steps):
        rows = rng.choice(len(wanted), BATCH, replace=False)
        batch = {name: value[rows] for name, value in inputs.items()}
        trained, state, _ = step(trained, state, batch, wanted[rows], counts[rows])
    return module.replace(trained)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    steps, start = parser.parse_args().steps, time.perf_counter()
    tokens = Tokenizer(fetch("traceforge/tokenizer.json"))
    encoder = onnxla.load(fetch("traceforge/encoder_int8.onnx"))
    learned, held_out = (
        examples(places, deeds, tokens, encoder) for places, deeds in ((PLACES, DEEDS), HELD_OUT)
    )
    inputs, wanted, counts = held_out
    base = onnxla.load(fetch("traceforge/decoder_int8.onnx"))
    module = base.lora(rank=RANK)
    before = logits_of(module, inputs)
    tuned = train(module, learned, steps)
    after = logits_of(tuned, inputs)
    print(f"adapters: {len(tuned.partition()[0]) // 2}, in {time.perf_counter() - start:.0f} s")
    print(f"held-out loss: {loss_of(before, wanted, counts):.3f} before", end=", ")
    print(f"{loss_of(after, wanted, counts):.3f} after")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tuned.save(folder / "tuned.onnx")
        # Beside the weights as they are, so that the adapters can be switched off.
        module.save(folder / "switchable.onnx", switchable=True)
        tuned.save_adapters(folder / "titles.onnx_adapter", form="onnxruntime")
        adapter = onnxruntime.LoraAdapter()
        adapter.Load(str(folder / "titles.onnx_adapter"))
        saved, switched = (session_of(folder / f"{n}.onnx") for n in ("tuned", "switchable"))
        active = onnxruntime.RunOptions()
        active.add_active_adapter(adapter)
        for what, session, options, expected in (
            ("the saved file", saved, None, after),
            ("its own adapter", switched, active, after),
            ("no adapter", switched, None, before),
        ):
            run = partial(session.run, None, run_options=options)
            found = logits_of(lambda batch, run=run: run(batch)[0], inputs)
            differences = np.abs(found - expected).max((1, 2)) / np.abs(expected).max()
            print(f"ONNX Runtime, {what}: {loss_of(found, wanted, counts):.3f}, logits differ by")
            print(f"  {np.median(differences):.1g} of the largest on average (median),", end=" ")
            print(f"less than 1e-5 in {(differences < 1e-5).sum()} of {len(differences)} rows")


def session_of(path: Path) -> onnxruntime.InferenceSession:
    """A session in which products of integers are exact, which on older processors they are not."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # which inputs have defaults
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, options)


if __name__ == "__main__":
    main()
