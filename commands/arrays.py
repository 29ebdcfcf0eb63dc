"""What to feed a model: the command line's options, and the arrays that they give."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxla import ir
from onnxla.commands.array_files import read_array
from onnxla.commands.numbers import whole
from onnxla.inputs import random_inputs, suitable_inputs
from onnxla.ir.names import no_such, quoted
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
    command.add_argument("--seed", type=whole(0), default=0, help="of random inputs (default: 0)")


def parse_size(text: str) -> tuple[str, int]:
    """`NAME=N` as a pair."""
    name, _, number = text.rpartition("=")
    if not (name and number.isascii() and number.isdigit() and len(number) < 20):
        raise ValueError(f"--size takes NAME=N, got {quoted(text)}")
    return name, int(number)


def read_inputs(
    module: Module, arguments: argparse.Namespace, otherwise_random: bool = False
) -> dict[str, Any]:
    """Inputs by name from the command line's files, the rest at random if that is asked for.

    With `otherwise_random`, that is asked for where there are no files.
    """
    inputs: dict[str, Any] = {}
    for text in arguments.input:
        name, path = parse_input(text)
        data = read_array(path)
        if isinstance(data, Mapping):
            inputs.update(data)
            continue
        free = [n for n in module.input_names if n not in inputs]
        if not name and not free:
            raise ValueError(f"--input {quoted(text)}: the model has no input left to feed")
        inputs[name or free[0]] = data
    missing = tuple(value for value in module.program.inputs if value.name not in inputs)
    if arguments.random or (not inputs and otherwise_random):
        sizes = dict(map(parse_size, arguments.size))
        if sizes or inputs:
            inputs |= drawn(missing, sizes, arguments.seed)
        else:
            inputs = dict(suitable_inputs(module.program, arguments.seed))
    elif arguments.size:
        raise ValueError("--size is of inputs that are drawn at random; pass --random")
    return inputs


def parse_input(text: str) -> tuple[str, Path]:
    """`[NAME=]FILE` as a pair: a file whose name has a `=` is meant if there is one."""
    name, equals, path = text.rpartition("=")
    return ("", Path(text)) if not equals or Path(text).is_file() else (name, Path(path))


def drawn(values: tuple[ir.ValueInfo, ...], sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
    """Random inputs. Raises: ValueError if a size is of no dimension, or makes one too large."""
    shapes = [v.type.shape or () for v in values if isinstance(v.type, ir.TensorType)]
    known = {dim: None for shape in shapes for dim in shape if isinstance(dim, str)}
    for name in sizes:
        if name not in known:
            raise ValueError(f"--size {quoted(name)}: {no_such('dimension', name, known)}")
    try:
        return dict(random_inputs(values, sizes, seed))
    except ir.ModelError as error:
        given = " ".join(f"--size {quoted(f'{name}={n}')}" for name, n in sizes.items())
        raise ValueError(f"{given}{': ' if given else ''}{error}") from error
