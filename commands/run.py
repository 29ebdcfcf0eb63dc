"""The command `onnxla run`: runs a model, and prints or saves its outputs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxla.commands.array_files import result_path, write_arrays
from onnxla.commands.arrays import add_input_options, read_inputs
from onnxla.commands.json_values import array_record, printed
from onnxla.ir.names import plain
from onnxla.module import load


def add_run(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "run", help="run a model", description="Runs a model and prints or saves its outputs."
    )
    command.add_argument("file", type=Path, metavar="FILE")
    add_input_options(command)
    command.add_argument(
        "--output",
        type=Path,
        metavar="OUT",
        help="write the outputs to OUT.npz by name, or to OUT.npy if there is only one",
    )
    command.add_argument("--json", action="store_true", help="print a JSON document")
    command.set_defaults(command=run_file)


def run_file(arguments: argparse.Namespace) -> int:
    """`onnxla run`."""
    module = load(arguments.file)
    path = arguments.output and result_path(arguments.output, len(module.output_names))
    arrays = as_arrays(module.run(read_inputs(module, arguments)))
    if path is not None:
        write_arrays(path, arrays)
    if arguments.json:
        print(printed({name: array_record(array) for name, array in arrays.items()}))
        return 0
    for name, array in arrays.items():
        print(f"{plain(name)}: {array.dtype}{list(array.shape)}")
        if path is None:
            print(np.array2string(array, threshold=20, precision=6))
    if path is not None:
        print(f"written to {path}")
    return 0


def as_arrays(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Outputs as arrays by name; those of a sequence are numbered, as `y.0`."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in outputs.items():
        if isinstance(value, list | tuple):
            arrays |= as_arrays({f"{name}.{i}": each for i, each in enumerate(value)})
        elif value is not None:
            arrays[name] = np.asarray(value)
    return arrays
