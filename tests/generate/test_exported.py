"""Decoders that real exporters wrote, with random weights, beside ONNX Runtime's loop.

`tools/exporters/export_decoders.py` makes the files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxla
from support.decoders import EXPORTED, Peer, further, precise

FILES = sorted(
    path.relative_to(EXPORTED).with_suffix("").as_posix() for path in EXPORTED.glob("*/*")
)
QUICK = ("transformers/llama", "optimum/t5-decoder_model_merged", "builder-int4/llama")
NEW = 64
SHORT, LONG = (np.random.default_rng(0).integers(3, 61, size) for size in (7, 100))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.more) for name in FILES]
)
def test_greedy_tokens_are_those_of_onnxruntime(name: str) -> None:
    """For a short prompt, a long one, and a batch with padding on the left."""
    file = precise(EXPORTED / f"{name}.onnx")
    module, peer = onnxla.load(file), Peer(file)

    def expected(prompt: Any, row: int = 0, batch: int = 1) -> np.ndarray:
        given = {k: v[row : row + 1] for k, v in further(module.input_names, batch).items()}
        return peer.greedy(prompt, NEW, size=16, **given)[0]

    def made(*args: Any, batch: int = 1) -> np.ndarray:
        inputs = further(module.input_names, batch)
        options: dict[str, Any] = {"max_new_tokens": NEW, "progress": False}
        return np.asarray(module.generate(*args, inputs=inputs, **options))

    for prompt in (SHORT, LONG) if name not in QUICK else (SHORT,):
        tokens = expected(prompt)
        np.testing.assert_array_equal(made(prompt)[0], tokens)
    if name == "transformers/mamba":  # whose exporter fixes the batch
        return
    ids, mask = np.zeros((2, 7), np.int64), np.ones((2, 7), np.int64)
    ids[0], ids[1, 4:], mask[1, :4] = SHORT, SHORT[:3], 0
    rows = [expected(SHORT, 0, 2), expected(SHORT[:3], 1, 2)]
    np.testing.assert_array_equal(made(ids, mask, batch=2), rows)
    assert len({*np.ravel(rows).tolist()}) > 1


def test_files_are_small_and_name_no_folder() -> None:
    """What an exporter noted of the machine is taken out."""
    for name in FILES:
        data = (EXPORTED / f"{name}.onnx").read_bytes()
        assert len(data) < 300_000, name
        assert not any(word in data for word in (b"site-packages", b"/tmp/", b".py")), name
