"""The command `onnxla run`: runs a model, and prints or saves its outputs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from onnxla.commands.arrays import add_input_options, read_inputs, write_arrays
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
    command.set_defaults(command=run_file)


def run_file(arguments: argparse.Namespace) -> int:
    """`onnxla run`."""
    module = load(arguments.file)
    outputs = module.run(read_inputs(module, arguments))
    arrays = {name: np.asarray(value) for name, value in outputs.items() if value is not None}
    for name, array in arrays.items():
        print(f"{plain(name)}: {array.dtype}{list(array.shape)}")
        if arguments.output is None:
            print(np.array2string(array, threshold=20, precision=6))
    if arguments.output is not None:
        write_arrays(arguments.output, arrays)
    return 0
