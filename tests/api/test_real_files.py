"""Real files with labels, maps, trees or quantized layers: what a call returns, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime
import pytest

import onnxla
from onnxla.inputs import random_inputs
from onnxla.peers.difference import Tolerance, difference
from onnxla.peers.onnx_runtime import OnnxRuntime
from support.real_models import fetched


@dataclass(frozen=True)
class RealFile:
    """A file and how to feed it.

    Attributes:
        load: The file's bytes.
        symbol: The dimension that has the `sizes` to try; by default those without a name.
        others: Sizes of further dimensions, which are 1 otherwise.
        scale: What random numbers, from N(0, 1) or 0 and 1, are multiplied with.
        atol: Tolerance relative to the largest number of an output.
    """

    load: Callable[[], bytes]
    symbol: str = ""
    sizes: tuple[int, ...] = (1, 5)
    others: Mapping[str, int] = field(default_factory=dict)
    scale: float = 1.0
    atol: float = 1e-4


def dataset(name: str) -> Callable[[], bytes]:
    """A file of the `onnxruntime` wheel."""
    return (Path(onnxruntime.__file__).parent / "datasets" / name).read_bytes


# A value that falls between two integers may be rounded to either, whatever the last bits of what
# it is computed from say. Given the same numbers, both runtimes round all of them alike.
ROUNDED = 0.1
SEQUENCE = {"seq": 20, "seq_len": 20}

FILES = {
    "onnxruntime/logreg_iris": RealFile(dataset("logreg_iris.onnx"), sizes=(3,)),
    "onnxruntime/mul_1": RealFile(dataset("mul_1.onnx"), sizes=(3,)),
    "onnxruntime/sigmoid": RealFile(dataset("sigmoid.onnx"), sizes=(3,)),
    "surfaces/boosting": RealFile(fetched("surfaces/boosting.onnx"), scale=10),
    "surfaces/classifier": RealFile(fetched("surfaces/classifier.onnx"), scale=10),
    "surfaces/validity": RealFile(fetched("surfaces/validity.onnx"), sizes=(1, 100), scale=10),
    "surfaces/regressor": RealFile(fetched("surfaces/regressor.onnx"), scale=10),
    "ddddocr/common_old": RealFile(
        fetched("ddddocr/common_old.onnx"), "image_width", sizes=(64, 96), atol=ROUNDED
    ),
    "text2tashkeel/bilstm": RealFile(
        fetched("text2tashkeel/bilstm_int8.onnx"), "batch", (1, 3), SEQUENCE, 20, ROUNDED
    ),
    "text2tashkeel/rawi": RealFile(
        fetched("text2tashkeel/rawi_int8.onnx"), "batch", (1, 3), SEQUENCE, 20, ROUNDED
    ),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, marks=pytest.mark.xdist_group(name))
        for name, file in FILES.items()
        for size in file.sizes
    ],
)
def test_call(name: str, size: int) -> None:
    file = FILES[name]
    data = file.load()
    module = onnxla.load(data)
    feeds = random_inputs(module.program.inputs, {**file.others, file.symbol: size})
    feeds = {name: (file.scale * x).astype(x.dtype) for name, x in feeds.items()}
    # A thread for each sequence: those of one thread would be rounded together.
    expected = OnnxRuntime(optimized=True, threads=4).run(data, feeds)
    tolerance = Tolerance(relative=1e-3, scaled=file.atol, steps=0)
    found = difference([*module.run(feeds).values()], expected, tolerance)
    assert found.ok, found
