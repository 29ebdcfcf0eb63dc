"""Tokens of decoders with a cache of a fixed length, beside ONNX Runtime's loop."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.monitoring
import numpy as np
import onnx
import pytest

import onnxla
from onnxla.arguments import GENERATE_ELSEWHERE
from onnxla.generate import Decoder
from onnxla.generate.model import CachedModel, Given
from support.decoders import SMALL, Peer, gpt, grouped, llama, merged, packed, recurrent, standard
from support.small_models import linear

PROMPT = [3, 14, 15, 9, 26, 53, 58]
FILES: dict[str, Callable[[], bytes]] = {
    "learned positions": gpt,
    "learned positions from the mask": functools.partial(gpt, positions="mask"),
    "rotary positions": llama,
    "rotary positions from the mask": functools.partial(llama, positions="mask"),
    "positions from a range": functools.partial(gpt, positions="range"),
    "rotary positions from a range, no mask": functools.partial(
        llama, positions="range", masked=False
    ),
    "positions and mask from slices": functools.partial(gpt, positions="slice", masked=False),
    "distances": functools.partial(gpt, positions="relative", masked=False),
    "Attention": standard,
    "keys and values in one": packed,
    "GroupQueryAttention": grouped,
    "two graphs in one file": merged,
    "states": recurrent,
}


@functools.cache
def decoder(name: str = "learned positions", length: int | None = None) -> Decoder:
    return Decoder(onnxla.load(FILES[name]()), length=length)


@functools.cache
def peer(name: str = "learned positions") -> Peer:
    return Peer(FILES[name]())


def generate(ids: Any, *args: Any, **options: Any) -> Any:
    return decoder().generate(ids, *args, progress=False, **options)


@pytest.mark.parametrize("name", FILES)
def test_greedy_tokens_are_those_of_onnxruntime(name: str) -> None:
    for prompt in (PROMPT, [7]):
        expected, _ = peer(name).greedy(prompt, 40)
        made = decoder(name).generate(prompt, max_new_tokens=40, progress=False)
        np.testing.assert_array_equal(made, expected[None])


def test_logits_are_those_of_onnxruntime() -> None:
    module = onnxla.load(llama())
    model = CachedModel(module.program)
    tokens, expected = peer("rotary positions").greedy(PROMPT, 5)
    given = Given(module.params, module.program.buffers, {})
    with jax.enable_x64(True):
        place = len(PROMPT) - 1
        caches = model.prompt(given, np.array([PROMPT]), np.int64(place), 16)
        for token, row in zip([PROMPT[-1], *tokens], expected, strict=False):
            logits, caches = model.step(given, np.array([[token]]), np.int64(place), caches)
            np.testing.assert_allclose(logits[0], row, rtol=1e-4, atol=1e-4)
            place += 1


def test_prompts_and_steps_are_compiled_once() -> None:
    module = onnxla.load(gpt())
    jax.block_until_ready(module.program.buffers)
    compiled = []

    def listen(event: str, seconds: float, **what: Any) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(what["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for size in (5, 6, 7, 8):
            for new in (1, 20, 60):
                module.generate([*range(1, size + 1)], max_new_tokens=new, progress=False)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) == 2, compiled


@pytest.mark.parametrize("name", ["learned positions", "GroupQueryAttention", "states"])
@pytest.mark.parametrize("left", [True, False])
def test_padded_prompts_are_as_single_ones(left: bool, name: str) -> None:
    prompts = [PROMPT, [7], [40, 2, 33]]
    ids, mask = np.zeros((3, 9), np.int64), np.zeros((3, 9), np.int64)
    for row, marks, prompt in zip(ids, mask, prompts, strict=True):
        place = slice(9 - len(prompt), 9) if left else slice(0, len(prompt))
        row[place], marks[place] = prompt, 1
    made = decoder(name).generate(ids, mask, max_new_tokens=12, progress=False)
    expected = [peer(name).greedy(prompt, 12)[0] for prompt in prompts]
    np.testing.assert_array_equal(made, expected)


def test_a_sequence_ends() -> None:
    prompts = np.array([PROMPT, PROMPT[::-1]])
    whole = generate(prompts, max_new_tokens=30)
    eos = next(token for token in whole[0] if token not in whole[1])
    ended = [row.tolist().index(eos) if eos in row else 30 for row in whole]
    made = generate(prompts, max_new_tokens=30, eos=int(eos), pad=60)
    for got, row, at in zip(made, whole, ended, strict=True):
        np.testing.assert_array_equal(got[: at + 1], row[: at + 1])
        assert (got[at + 1 :] == 60).all()
    alone = generate(PROMPT, max_new_tokens=30, eos=[int(eos), 60])
    np.testing.assert_array_equal(alone[0], whole[0, : ended[0] + 1])


@pytest.mark.parametrize("stream", [False, True])
def test_a_short_prompt_goes_on_after_the_longest_one_has_ended(stream: bool) -> None:
    """Each has what it would have alone, whatever the others."""
    prompts = [PROMPT, [7]]
    ids = np.array([PROMPT, [0] * (len(PROMPT) - 1) + [7]])
    mask = np.array([[1] * len(PROMPT), [0] * (len(PROMPT) - 1) + [1]])
    alone = [generate(prompt, max_new_tokens=20)[0] for prompt in prompts]
    eos = int(next(token for token in alone[0] if token not in alone[1]))
    first = alone[0].tolist().index(eos) + 1
    assert first < 15
    made = generate(ids, mask, max_new_tokens=20, eos=eos, pad=60, stream=stream)
    made = np.stack([*made], 1) if stream else made
    np.testing.assert_array_equal(made[1], alone[1])
    np.testing.assert_array_equal(made[0], [*alone[0][:first], *[60] * (20 - first)])


def test_a_stream_has_the_same_tokens() -> None:
    ids, mask = np.array([PROMPT, [0] * 4 + [5, 6, 7]]), np.array([[1] * 7, [0] * 4 + [1] * 3])
    stream = generate(ids, mask, max_new_tokens=9, stream=True)
    first = next(stream)
    assert not jax.config.jax_enable_x64  # which is the caller's, between two tokens
    streamed = np.stack([first, *stream], 1)
    np.testing.assert_array_equal(streamed, generate(ids, mask, max_new_tokens=9))


def test_other_parameters() -> None:
    module = decoder().module
    other = {name: value * 1.5 for name, value in module.params.items()}
    made = generate(PROMPT, params=other)
    expected = module.replace(other).generate(PROMPT, progress=False)
    np.testing.assert_array_equal(made, expected)
    assert not np.array_equal(made, generate(PROMPT))


def test_a_bar_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxla.progress.is_watched", lambda: True)
    decoder().generate(PROMPT, max_new_tokens=33)
    assert "33/33" in capsys.readouterr().err


@pytest.mark.parametrize("positions", ["slice", "relative"])
@pytest.mark.parametrize("bare", [True, False])
def test_an_encoder(positions: str, bare: bool) -> None:
    file = merged(positions=positions, masked=False, crossed=True, bare=bare)
    hidden = np.random.default_rng(0).standard_normal((2, 11, SMALL.width)).astype(np.float32)
    module, other = onnxla.load(file), Peer(file)
    prompts = [PROMPT[:2], PROMPT[2:4]]
    given = {"encoder_hidden_states": hidden}
    made = module.generate(prompts, inputs=given, max_new_tokens=30, progress=False)
    for row, prompt, states in zip(made, prompts, hidden, strict=True):
        expected, _ = other.greedy(prompt, 30, encoder_hidden_states=states[None])
        np.testing.assert_array_equal(row, expected)
    with pytest.raises(TypeError, match=r"further inputs \[encoder_hidden_states\]: give them as"):
        module.generate(prompts)


def test_positions_that_are_numbers_of_the_past_are_refused() -> None:
    module = onnxla.load(gpt(positions="number"))
    with pytest.raises(
        onnxla.UnsupportedError, match=r"another 'past_key_values.0.key' of the same"
    ):
        module.generate(PROMPT, progress=False)


def test_inputs_of_other_shapes() -> None:
    model = onnx.load_from_string(gpt())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    module = onnxla.load(model)
    np.testing.assert_array_equal(module.generate(PROMPT, progress=False), generate(PROMPT))
    with pytest.raises(ValueError, match=r"'input_ids' takes shape \[1, sequence\], got \[2, 8\]"):
        module.generate([PROMPT, PROMPT], progress=False)
    model.graph.input[1].type.tensor_type.shape.dim.add().dim_param = "keys"
    with pytest.raises(onnxla.UnsupportedError, match=r"\[batch, total, keys\], and text is"):
        onnxla.load(model).generate(PROMPT, progress=False)


def test_what_is_no_decoder() -> None:
    with pytest.raises(ValueError, match=r"has no cache: none of its inputs \[x\]"):
        onnxla.load(linear()).generate(PROMPT)
    with pytest.raises(ValueError, match="no output is named 'presents'"):
        Decoder(decoder().module, caches={"past_key_values.0.key": "presents"})
    with pytest.raises(ValueError, match="no input is named 'past'"):
        Decoder(decoder().module, caches={"past": "present.0.key"})


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([0.5], {}, "ids are integers, not float64"),
        ([3, SMALL.words], {}, f"prompt 0 has {SMALL.words}, which is no token of {SMALL.words}"),
        ([-1], {}, "prompt 0 has -1"),
        ([[[1]]], {}, r"not \[1, 1, 1\]"),
        ([], {}, "prompt 0 has no tokens"),
        ([[1], [2]], {"attention_mask": [[1], [0]]}, "prompt 1 has no tokens"),
        (PROMPT, {"temperature": 1.0}, "give one, as key="),
        (PROMPT, {"key": jax.random.key(0)}, "nothing is drawn with the key: give temperature="),
        (PROMPT, {"eos": [2, SMALL.words]}, f"eos has {SMALL.words}, which is no token of"),
        (
            PROMPT,
            {"top_k": 100, "key": jax.random.key(0)},
            f"top_k=100 of {SMALL.words} tokens: leave it out",
        ),
        (PROMPT, {"inputs": {"hidden": np.ones(3)}}, r"inputs \[hidden\] are none"),
    ],
)
def test_wrong_arguments(ids: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        generate(ids, **options)


def test_names_of_other_libraries_are_told() -> None:
    taken = inspect.signature(Decoder.generate).parameters
    assert not taken.keys() & GENERATE_ELSEWHERE.keys()
    for call in (decoder().generate, decoder().module.generate):
        with pytest.raises(TypeError, match=r"^num_beams is beams here$"):
            call(PROMPT, num_beams=2)
        with pytest.raises(TypeError, match=r"^input_ids is ids here"):
            call(input_ids=PROMPT)
        with pytest.raises(
            TypeError, match="no argument is named 'temprature'; did you mean 'temp"
        ):
            call(PROMPT, temprature=0.5)


def test_a_cache_that_is_too_short() -> None:
    with pytest.raises(ValueError, match="need a cache of length=26, and this decoder has 16"):
        decoder(length=16).generate(PROMPT)
    for size in (7, 15, 16):
        prompt, new = [*range(3, 3 + size)], 17 - size
        made = decoder(length=16).generate(prompt, max_new_tokens=new, progress=False)
        np.testing.assert_array_equal(made[0], peer().greedy(prompt, new)[0])
