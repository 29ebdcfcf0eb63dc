"""Arrays that commands read from files and write to them, and the options that name these."""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxla.inputs import random_inputs
from onnxla.ir.saving import replace_file
from onnxla.module import Module


def add_input_options(command: argparse.ArgumentParser) -> None:
    """The options that say what to feed a model."""
    command.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="an .npy file for the next input, or for the one named; or an .npz file by name",
    )
    command.add_argument(
        "--random", action="store_true", help="draw the inputs that no file gives at random"
    )
    command.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="NAME=N",
        help="size of a symbolic dimension in random inputs (default: 1)",
    )
    command.add_argument("--seed", type=int, default=0, help="of random inputs (default: 0)")


def read_inputs(
    module: Module, arguments: argparse.Namespace, otherwise_random: bool = False
) -> dict[str, Any]:
    """Inputs by name from the command line's files, the rest at random if that is asked for.

    With `otherwise_random`, that is asked for where there are no files.
    """
    inputs: dict[str, Any] = {}
    for text in arguments.input:
        name, _, path = text.rpartition("=")
        data = read_array(Path(path))
        if isinstance(data, Mapping):
            inputs.update(data)
            continue
        free = [n for n in module.input_names if n not in inputs]
        if not name and not free:
            raise ValueError(f"'{text}': the model has no input left to feed")
        inputs[name or free[0]] = data
    missing = tuple(value for value in module.program.inputs if value.name not in inputs)
    if missing and (arguments.random or (not inputs and otherwise_random)):
        inputs |= random_inputs(missing, dict(map(parse_size, arguments.size)), arguments.seed)
    return inputs


def parse_size(text: str) -> tuple[str, int]:
    """`NAME=N` as a pair."""
    name, _, size = text.rpartition("=")
    if not name or not size.isdigit():
        raise ValueError(f"--size takes NAME=N, got '{text}'")
    return name, int(size)


def read_array(path: Path) -> Any:
    """The array in an .npy file, or the arrays by name in an .npz file.

    Raises:
        ValueError: There is no such file, or it is neither.
    """
    if not path.is_file():
        raise ValueError(f"there is no file '{path}'")
    try:
        data = np.load(path, allow_pickle=False)
        return data if isinstance(data, np.ndarray) else dict(data)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"'{path}' is no .npy or .npz file: {error}") from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes outputs to an .npz file, or the only one to an .npy file.

    Raises:
        OSError: It cannot be written; a file that was there stays.
    """
    file = io.BytesIO()
    if path.suffix == ".npy":
        if len(arrays) != 1:
            raise ValueError(f"'{path}' holds one array, the model has {len(arrays)} outputs")
        np.save(file, next(iter(arrays.values())))
    else:
        path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        np.savez(file, allow_pickle=True, **arrays)
    replace_file(path, [file.getbuffer()])
    print(f"written to {path}")
