"""The command `onnxla compare`: a model's values beside another runtime's or model's, by node."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onnxla.commands.arrays import add_input_options, read_inputs
from onnxla.commands.json_values import printed
from onnxla.commands.numbers import real
from onnxla.commands.terminal import show
from onnxla.ir.names import no_such
from onnxla.module import Module, load
from onnxla.peers.node_by_node import compare

RUNTIMES = ("onnxruntime", "reference")


def add_compare(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "compare",
        help="compare a model's values with another runtime or model, node by node",
        description="Names the first node whose value differs, and by how much. "
        "Without inputs, random ones are drawn.",
    )
    command.add_argument("file", type=Path, metavar="FILE")
    add_input_options(command)
    command.add_argument(
        "--against",
        metavar="RUNTIME|FILE",
        default="onnxruntime",
        help=f"the other runtime, {' or '.join(RUNTIMES)} (default: %(default)s); or the file of "
        "another model, of which values of the same names are compared",
    )
    command.add_argument("--rtol", type=real, default=1e-3, help="default: %(default)s")
    command.add_argument(
        "--atol", type=real, default=1e-4, help="of a value's scale; default: %(default)s"
    )
    command.add_argument("--json", action="store_true", help="print a JSON document")
    command.set_defaults(command=run_compare)


def other_side(against: str) -> str | Module:
    """A runtime's name, or another file's model. Raises: ValueError if it is neither."""
    if against in RUNTIMES:
        return against
    if not Path(against).exists():
        raise ValueError(f"there is no file {against!r}; {no_such('runtime', against, RUNTIMES)}")
    return load(against)


def run_compare(arguments: argparse.Namespace) -> int:
    """`onnxla compare`."""
    module = load(arguments.file)
    comparison = compare(
        module,
        read_inputs(module, arguments, otherwise_random=True),
        other_side(arguments.against),
        rtol=arguments.rtol,
        atol=arguments.atol,
    )
    if arguments.json:
        print(printed(comparison.record()))
    else:
        show(comparison.report)
    return 0 if comparison.ok else 1
