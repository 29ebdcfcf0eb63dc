"""Decoders whose tables of positions end: nothing is made beyond."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxla
from onnxla.generate import Decoder
from support.decoders import Peer, Sizes, gpt, grouped, llama, merged, packed, recurrent

PROMPT = [3, 14, 15, 9, 26, 53, 58]
LONGEST = 40
SHORT = Sizes(longest=LONGEST)
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "learned": (functools.partial(gpt, SHORT), "Gather .* 'positions.weight'"),
    "from the mask": (functools.partial(gpt, SHORT, positions="mask"), "Gather"),
    "from a range": (functools.partial(gpt, SHORT, positions="range"), "Gather"),
    "sliced": (functools.partial(gpt, SHORT, positions="slice", masked=False), "Slice"),
    "distances": (functools.partial(gpt, SHORT, positions="relative", masked=False), "Gather"),
    "cosines": (functools.partial(llama, SHORT, turns="gather"), "Gather .* 'cos_cache'"),
    "RotaryEmbedding": (functools.partial(llama, SHORT, turns="operator"), "RotaryEmbedding"),
    "GroupQueryAttention": (
        functools.partial(grouped, Sizes(width=64, key_heads=2, longest=LONGEST)),
        "GroupQueryAttention",
    ),
    "Attention": (functools.partial(packed, SHORT), "Gather"),
    "merged": (functools.partial(merged, SHORT, positions="slice", masked=False), "Slice"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_table_is_read_to_its_end_and_not_beyond(name: str) -> None:
    """The last position of the table is read; one more is an error before anything is made."""
    build, told = FILES[name]
    file = build()
    module = onnxla.load(file)
    most = LONGEST + 1 - len(PROMPT)
    message = rf"read positions up to 40, and {told}.*: at most {most} new tokens"
    with pytest.raises(ValueError, match=message):
        module.generate(PROMPT, max_new_tokens=most + 1)
    made = module.generate(PROMPT, max_new_tokens=most, progress=False)
    np.testing.assert_array_equal(made[0], Peer(file).greedy(PROMPT, most)[0])


def test_prompts_longer_than_a_table() -> None:
    """They are refused, whatever is asked for."""
    module = onnxla.load(gpt(SHORT))
    with pytest.raises(ValueError, match=r"has a table of 40, .*: they are too long for it"):
        module.generate([1] * 41, max_new_tokens=1)
    assert module.generate([1] * 40, max_new_tokens=1, progress=False).shape == (1, 1)


def test_a_length_beyond_a_table() -> None:
    """A cache may be asked for that is longer; it reaches as far as the table."""
    decoder = Decoder(onnxla.load(FILES["sliced"][0]()), length=100)
    assert decoder.generate(PROMPT, max_new_tokens=34, progress=False).shape == (1, 34)
    with pytest.raises(ValueError, match="at most 34 new tokens"):
        decoder.generate(PROMPT, max_new_tokens=35)


@pytest.mark.parametrize("build", [llama, recurrent])
def test_without_tables_nothing_ends(build: Callable[..., bytes]) -> None:
    """Formulas and states go on as long as is asked for."""
    made = onnxla.load(build(SHORT)).generate(PROMPT, max_new_tokens=60, progress=False)
    assert made.shape == (1, 60)


def test_indices_that_are_kept_within_a_table() -> None:
    """A table whose last row stands for all positions after it has no end."""
    model = onnx.load_from_string(gpt(SHORT, positions="range"))
    node = next(each for each in model.graph.node if "positions.weight" in each.input)
    last = onnx.numpy_helper.from_array(np.int64(LONGEST - 1), "last")
    model.graph.initializer.append(last)
    kept = onnx.helper.make_node("Min", [node.input[1], "last"], ["kept"])
    model.graph.node.insert([*model.graph.node].index(node), kept)
    node.input[1] = "kept"
    file = model.SerializeToString()
    made = onnxla.load(file).generate(PROMPT, max_new_tokens=50, progress=False)
    np.testing.assert_array_equal(made[0], Peer(file).greedy(PROMPT, 50)[0])


def test_a_table_of_every_second_position() -> None:
    """How far a table reaches is asked, and not counted from its rows."""
    sizes = Sizes(longest=20)
    file = onnx.load_from_string(gpt(sizes))
    (node,) = [n for n in file.graph.node if n.op_type == "Gather" and "position" in n.input[0]]
    file.graph.initializer.append(onnx.numpy_helper.from_array(np.int64(2), "two"))
    halved = onnx.helper.make_node("Div", [node.input[1], "two"], ["halved"])
    file.graph.node.insert([*file.graph.node].index(node), halved)
    node.input[1] = "halved"
    module = onnxla.load(file.SerializeToString())
    most = 2 * 20 + 1 - len(PROMPT)
    made = module.generate(PROMPT, max_new_tokens=most, progress=False)
    np.testing.assert_array_equal(made[0], Peer(file.SerializeToString()).greedy(PROMPT, most)[0])
    with pytest.raises(ValueError, match=f"at most {most} new tokens"):
        module.generate(PROMPT, max_new_tokens=most + 1)
