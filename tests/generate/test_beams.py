"""Beam search, beside a search of all texts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnxruntime
import pytest

import onnxla
from support.decoders import SMALL, Sizes, gpt, merged, recurrent

TINY = Sizes(words=5, width=16, heads=2, key_heads=2, scale=0.6)
EOS = 3


def likeliest(file: bytes, prompt: list[int], new: int, eos: int | None) -> list[int]:
    """Of all texts of so many tokens after a prompt, or that end before, the likeliest."""
    session = onnxruntime.InferenceSession(file)
    texts = np.array(
        [[*prompt, *rest] for rest in itertools.product(range(TINY.words), repeat=new)]
    )
    feeds: dict[str, Any] = {
        "input_ids": texts,
        "attention_mask": np.ones_like(texts),
        "position_ids": np.tile(np.arange(texts.shape[1]), (len(texts), 1)),
    }
    for value in session.get_inputs()[3:]:
        feeds[value.name] = np.zeros((len(texts), TINY.heads, 0, TINY.size), np.float32)
    (logits,) = session.run(["logits"], feeds)
    chances = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    best: dict[tuple[int, ...], float] = {}
    for text, row in zip(texts.tolist(), chances, strict=True):
        rest, score = text[len(prompt) :], 0.0
        for at, token in enumerate(rest):
            score += float(row[len(prompt) + at - 1, token])
            if token == eos:
                rest = [*rest[: at + 1], *[eos] * (new - at - 1)]
                break
        best[tuple(rest)] = score
    return [*max(best, key=lambda text: best[text])]


@pytest.mark.parametrize("eos", [None, EOS])
def test_enough_beams_find_the_likeliest_text(eos: int | None) -> None:
    file, new = gpt(TINY), 4
    module = onnxla.load(file)
    prompts = [[1, 2, 4], [0], [4, 4], [2, 3]]
    longest = max(map(len, prompts))
    ids = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    options: dict[str, Any] = {"max_new_tokens": new, "progress": False}
    options |= {} if eos is None else {"eos": eos}
    made = module.generate(ids, mask, beams=TINY.words ** (new - 1), **options)
    expected = np.array([likeliest(file, prompt, new, eos) for prompt in prompts])
    np.testing.assert_array_equal(made, expected[:, : made.shape[1]])
    assert not np.array_equal(made, module.generate(ids, mask, **options))  # greedy


def test_one_beam_is_greedy() -> None:
    module = onnxla.load(gpt(TINY))
    options: dict[str, Any] = {"max_new_tokens": 20, "progress": False}
    np.testing.assert_array_equal(
        module.generate([[1, 2]], beams=1, **options), module.generate([[1, 2]], **options)
    )


def test_beams_of_states_and_encoders() -> None:
    options: dict[str, Any] = {"max_new_tokens": 12, "beams": 3, "progress": False}
    prompts = [[5, 6, 7], [8, 9, 10]]
    hidden = np.random.default_rng(0).standard_normal((2, 7, SMALL.width)).astype(np.float32)
    given = {"encoder_hidden_states": hidden}
    spoken = merged(positions="range", masked=False, crossed=True)
    for file, inputs in ((recurrent(), {}), (spoken, given)):
        module = onnxla.load(file)
        both = module.generate(prompts, inputs=inputs, **options)
        for row, prompt, at in zip(both, prompts, (0, 1), strict=True):
            own = {name: value[at : at + 1] for name, value in inputs.items()}
            alone = module.generate(prompt, inputs=own, **options)
            np.testing.assert_array_equal(row, alone[0])


def test_beams_go_with_no_stream() -> None:
    with pytest.raises(ValueError, match=r"beams=2 goes with no stream"):
        onnxla.load(gpt(TINY)).generate([1], beams=2, stream=True)


def test_a_beam_that_has_ended_is_kept_whatever_follows_it() -> None:
    module = onnxla.load(gpt(TINY))
    options: dict[str, Any] = {"max_new_tokens": 6, "beams": 4, "eos": EOS, "progress": False}
    expected = module.generate([[1, 2, 4]], **options)
    assert EOS in expected
    filled = module.generate([[1, 2, 4]], pad=100, **options)
    np.testing.assert_array_equal(np.where(filled == 100, EOS, filled), expected)
