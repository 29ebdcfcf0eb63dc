"""What a file makes `generate` take of memory is limited, as in a call."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxla
from onnxla.generate import Decoder
from support.decoders import Sizes, gpt, recurrent

ONE = Sizes(layers=1)
PROMPT = [1, 2, 3]


def test_a_cache_that_is_too_large() -> None:
    """A file states how large its states are."""
    model = onnx.load_from_string(recurrent(ONE))
    for value in (*model.graph.input, *model.graph.output):
        if "conv" in value.name:
            value.type.tensor_type.shape.dim[1].dim_value = 2**40
    with pytest.raises(onnxla.ModelError, match=r"third of the cache of 128 tokens.*limit.*bytes="):
        onnxla.load(model.SerializeToString()).generate(PROMPT, progress=False)


def widened() -> bytes:
    """A decoder that makes many values of 2 MB on its way to the logits, all of which it needs."""
    model = onnx.load_from_string(gpt(ONE))
    nodes = model.graph.node
    nodes[-1].output[0] = "own"
    wide = numpy_helper.from_array(np.array([700, 700]), "wide")
    axes = [numpy_helper.from_array(np.array(i), f"axis{i}") for i in (0, 1)]
    model.graph.initializer.extend([wide, *axes])
    nodes.append(helper.make_node("ReduceMax", ["own"], ["most"], keepdims=0))
    nodes.append(helper.make_node("Expand", ["most", "wide"], ["wide0"]))
    for i in range(8):
        nodes.append(helper.make_node("CumSum", [f"wide{i}", f"axis{i % 2}"], [f"wide{i + 1}"]))
    nodes.append(helper.make_node("Identity", ["wide8"], ["s8"]))
    for i in reversed(range(8)):
        nodes.append(helper.make_node("CumSum", [f"s{i + 1}", f"axis{i % 2}"], [f"t{i}"]))
        nodes.append(helper.make_node("Add", [f"t{i}", f"wide{i}"], [f"s{i}"]))
    nodes.append(helper.make_node("ReduceMax", ["s0"], ["more"], keepdims=0))
    nodes.append(helper.make_node("Add", ["own", "more"], ["logits"]))
    return model.SerializeToString()


@pytest.mark.quickly
def test_what_a_program_needs_at_one_time_is_limited() -> None:
    module = onnxla.load(widened(), limits=onnxla.Limits(bytes=2_200_000))
    with pytest.raises(onnxla.ModelError, match=r"third of the results.*limit.*bytes="):
        Decoder(module, length=8).generate(PROMPT, max_new_tokens=4, progress=False)


@pytest.mark.quickly
def test_so_many_programs_are_kept() -> None:
    module = onnxla.load(gpt(ONE), limits=onnxla.Limits(programs=3))
    decoder = Decoder(module, length=40)
    counts = []
    for tokens in (3, 9, 17):  # each needs a prompt's program of its own
        decoder.generate([1] * tokens, max_new_tokens=2, progress=False)
        counts.append(len(decoder.stepper.programs))
    assert counts == [2, 3, 3]
