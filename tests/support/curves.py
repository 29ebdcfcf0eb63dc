"""Loss curves of the frameworks whose exporters wrote the files in `tests/exporters/files`.

Knows numpy alone: `tools/exporters/` writes curves with it, in environments without onnxla.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "exporters"
STEPS = 50
ROWS = 2  # of a batch, whose outputs a curve keeps


def draw(rng: np.random.Generator, shape: list[int], below: int | None = None) -> np.ndarray:
    """Integers in [0, below), or normal float32 numbers."""
    if below is not None:
        return rng.integers(below, size=shape)
    return rng.standard_normal(shape).astype(np.float32)


def batches(curve: dict[str, Any]) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Batches of inputs by name and targets. Training takes them in turn, again and again."""
    rng = np.random.default_rng(curve["seed"])
    made = []
    for _ in range(curve["batches"]):
        inputs = {name: draw(rng, **entry) for name, entry in curve["inputs"].items()}
        made.append((inputs, draw(rng, **curve["targets"])))
    return made


def rounded(outputs: np.ndarray) -> Any:
    """The first rows of a batch's outputs, as much as is kept of them."""
    return [float(f"{value:.9g}") for value in outputs[:ROWS].ravel()]


def read(framework: str, network: str) -> dict[str, Any]:
    """The curve of a network, with the data that it is of."""
    curve: dict[str, Any] = json.loads(
        (FOLDER / "curves" / framework / f"{network}.json").read_text()
    )
    return curve


def write_file(exporter: str, network: str, export: Callable[[Path], None]) -> None:
    """Has an exporter write a network, and prints how large the file is, or why there is none."""
    path = FOLDER / "files" / exporter / f"{network}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        export(path)
        print(network, exporter, path.stat().st_size, flush=True)
    except Exception as error:  # the table says what an exporter does not write
        path.unlink(missing_ok=True)
        print(network, exporter, type(error).__name__, str(error)[:300], flush=True)


def write(framework: str, network: str, curve: dict[str, Any]) -> None:
    """Keeps a curve."""
    path = FOLDER / "curves" / framework / f"{network}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(curve) + "\n")
