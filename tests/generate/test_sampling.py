"""Which tokens are drawn, beside a plain implementation in numpy."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import numpy as np
import pytest

import onnxla
from onnxla.generate.sampling import adjusted, choose, sampling
from support.decoders import gpt

RNG = np.random.default_rng(0)
WORDS = 23


def probabilities(
    logits: np.ndarray,
    seen: list[int],
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    repetition_penalty: float | None,
) -> np.ndarray:
    """Of one row's tokens, as Hugging Face's processors have them."""
    scores = logits.astype(np.float64)
    for token in {*seen} if repetition_penalty else ():
        positive = scores[token] > 0
        scores[token] *= 1 / repetition_penalty if positive else repetition_penalty
    scores = scores / (temperature or 1)
    order = np.argsort(-scores)
    if top_k:
        scores[order[top_k:]] = -np.inf
    powers = np.exp(scores - scores.max())
    shares = powers / powers.sum()
    if top_p:
        before = 0.0
        for token in order:
            shares[token], before = shares[token] * (before < top_p), before + shares[token]
    return shares / shares.sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "repetition_penalty"),
    [*itertools.product((None, 0.7), (None, 5, 99), (None, 0.6), (None, 1.3))],
)
def test_probabilities(
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    repetition_penalty: float | None,
) -> None:
    how = temperature, top_k, top_p, repetition_penalty
    logits = RNG.normal(size=(3, WORDS)).astype(np.float32) * 3
    seen = RNG.integers(0, WORDS, (3, 8))
    seen[:, 5:] = WORDS  # nothing
    found = jax.nn.softmax(adjusted(logits, seen, sampling(*how)))
    for got, row, tokens in zip(found, logits, seen, strict=True):
        np.testing.assert_allclose(got, probabilities(row, [*tokens[:5]], *how), atol=1e-6)


def test_draws_have_these_probabilities() -> None:
    logits = RNG.normal(size=(1, WORDS)).astype(np.float32)
    how = sampling(temperature=0.8, top_k=6, top_p=0.9, repetition_penalty=None)
    many, nothing = np.repeat(logits, 20_000, 0), np.zeros((20_000, 0), np.int64)
    drawn = choose(many, nothing, how, jax.random.key(0))
    expected = probabilities(logits[0], [], 0.8, 6, 0.9, None)
    counts = np.bincount(drawn, minlength=WORDS) / 20_000
    assert not counts[expected == 0].any()
    np.testing.assert_allclose(counts, expected, atol=4 * np.sqrt(0.25 / 20_000))


def test_a_decoder_draws() -> None:
    module = onnxla.load(gpt())
    options: dict[str, Any] = {"max_new_tokens": 12, "progress": False}
    drawn = {"temperature": 2.0, "top_k": 10, **options}
    prompts = [[5, 6, 7]] * 4
    first = module.generate(prompts, key=jax.random.key(1), **drawn)
    again = module.generate(prompts, key=jax.random.key(1), **drawn)
    np.testing.assert_array_equal(first, again)
    assert len({*map(tuple, first)}) == 4  # each draws its own
    assert not np.array_equal(first, module.generate(prompts, key=jax.random.key(2), **drawn))
    greedy = module.generate(prompts, **options)
    for one in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}):
        made = module.generate(prompts, key=jax.random.key(1), **one, **options)
        np.testing.assert_array_equal(made, greedy)


def test_tokens_that_were_there_are_punished() -> None:
    module = onnxla.load(gpt())
    made = module.generate([5, 6, 7], max_new_tokens=30, repetition_penalty=1e9, progress=False)
    assert len({5, 6, 7, *made[0].tolist()}) == 33
