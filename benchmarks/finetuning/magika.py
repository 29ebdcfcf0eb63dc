"""Magika, which tells the types of files, is taught to tell C++ headers from C headers.

Of the headers in a C++ standard library it calls about half C. It is trained on the headers of
`bits/`, of the onnx wheel, of Python and of numpy, and tested on headers from other folders: the
rest of the C++ standard library, and the system's C headers. Python and JSON files show whether it
forgets other types. Needs the headers of libstdc++ and of libc in /usr/include.

    python benchmarks/finetuning/magika.py
"""

from __future__ import annotations

import random
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

import onnxla
from onnxla.commands.downloads import fetch

BLOCK, SIZE, PADDING = 4096, 1024, 256
# Places of four types among the model's 214 outputs, from `config.min.json` in its wheel.
LABELS = {"c": 17, "cpp": 26, "json": 87, "python": 143}


def read(path: Path) -> np.ndarray:
    """A file as the model's input: its first and its last 1,024 bytes without white space."""
    data = path.read_bytes()
    start, end = data[:BLOCK].lstrip()[:SIZE], data[-BLOCK:].rstrip()[-SIZE:]
    row = np.full(2 * SIZE, PADDING, np.int32)
    row[: len(start)] = list(start)
    row[2 * SIZE - len(end) :] = list(end)
    return row


def files(folders: Iterable[str | Path], pattern: str, most: int) -> list[Path]:
    found = {
        path
        for folder in folders
        for path in Path(folder).glob(pattern)
        if path.is_file() and not path.is_symlink() and path.stat().st_size >= 64
    }
    chosen = random.Random(0).sample(sorted(found), min(most, len(found)))
    if not chosen:
        raise SystemExit(f"there is no {pattern} in {', '.join(map(str, folders))}")
    return chosen


def arrays(groups: dict[str, list[Path]]) -> tuple[np.ndarray, np.ndarray]:
    rows = [read(path) for paths in groups.values() for path in paths]
    labels = [LABELS[label] for label, paths in groups.items() for _ in paths]
    return np.stack(rows), np.array(labels)


def main() -> None:
    start = time.perf_counter()
    library = sorted(Path("/usr/include/c++").glob("[0-9]*"))[-1]
    python = sysconfig.get_paths()
    trained = {
        "cpp": files([library / "bits", Path(onnx.__file__).parent], "**/*.h", 160),
        "c": files([python["include"], Path(np.__file__).parent], "**/*.h", 160),
    }
    others = [folder for folder in library.iterdir() if folder.is_dir() and folder.name != "bits"]
    tested = {
        "C++ headers of other folders": {"cpp": files(others, "**/*.h*", 128)},
        "C headers of the system": {"c": files(["/usr/include/linux"], "**/*.h", 128)},
        "other types": {
            "python": files([python["stdlib"]], "*.py", 64),
            "json": files([python["purelib"]], "**/*.json", 64),
        },
    }
    module = onnxla.load(fetch("magika/model.onnx"))
    held_out = {name: arrays(groups) for name, groups in tested.items()}
    before = {name: score(module, data) for name, data in held_out.items()}
    result = onnxla.fit(
        module, arrays(trained), "cross_entropy", epochs=3, batch_size=32, learning_rate=1e-4
    )
    print(result.history)
    for name, data in held_out.items():
        after = score(result.module, data)
        print(f"{name} ({len(data[0])}): {before[name]:.1%} right before, {after:.1%} after")
    print(
        f"trained on {sum(map(len, trained.values()))} files; {time.perf_counter() - start:.0f} s"
    )


def score(module: onnxla.Module, data: tuple[np.ndarray, np.ndarray]) -> float:
    return onnxla.evaluate(module, data, metrics="accuracy")["accuracy"]


if __name__ == "__main__":
    main()
