"""The command line: `onnxla info|run|compare|finetune|fuzz|demo`.

Exit codes: 0, all is well; 1, the answer is no (values differ, operators are not supported);
2, the command or one of its files is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import onnxla
from onnxla import ir
from onnxla.commands.finetune import add_finetune
from onnxla.commands.fuzz import add_fuzz
from onnxla.inputs import random_inputs, read_array
from onnxla.parameters.roles import find_parameters
from onnxla.summary import summarize


class UsageError(Exception):
    """A user's mistake, told in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except (UsageError, onnxla.OnnxlaError, OSError, TypeError, ValueError) as error:
        print(f"onnxla: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", ()):
            print(f"  {note}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"onnxla: {error}; install the extra that has it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="onnxla", description="Run, compare, fine-tune and test ONNX models in JAX."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="what a model is, and what is unsupported in it")
    info.add_argument("file", type=Path, metavar="FILE")
    info.set_defaults(command=run_info)

    run = commands.add_parser(
        "run", help="run a model", description="Runs a model and prints or saves its outputs."
    )
    run.add_argument("file", type=Path, metavar="FILE")
    add_input_options(run)
    run.add_argument(
        "--output",
        type=Path,
        metavar="OUT",
        help="write the outputs to OUT.npz by name, or to OUT.npy if there is only one",
    )
    run.set_defaults(command=run_model)

    compare = commands.add_parser(
        "compare",
        help="compare a model's values with another runtime, node by node",
        description="Names the first node whose value differs, and by how much. "
        "Without inputs, random ones are drawn.",
    )
    compare.add_argument("file", type=Path, metavar="FILE")
    add_input_options(compare)
    compare.add_argument(
        "--against",
        choices=("onnxruntime", "reference"),
        default="onnxruntime",
        help="the other runtime (default: %(default)s)",
    )
    compare.add_argument("--rtol", type=float, default=1e-3, help="default: %(default)s")
    compare.add_argument(
        "--atol", type=float, default=1e-4, help="of a value's scale; default: %(default)s"
    )
    compare.set_defaults(command=run_compare)

    add_finetune(commands)
    add_fuzz(commands)

    demo = commands.add_parser(
        "demo", help="fine-tune a real pre-trained model, in about two minutes"
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="FOLDER",
        help="where the tuned model and the picture go (default: %(default)s)",
    )
    demo.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="the classifier, if it is not to be fetched with pip",
    )
    demo.set_defaults(command=run_demo)
    return top


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


def read_inputs(module: onnxla.Module, arguments: argparse.Namespace) -> dict[str, Any]:
    """Inputs by name from the command line's files, the rest at random if that is asked for."""
    inputs: dict[str, Any] = {}
    for text in arguments.input:
        name, _, path = text.rpartition("=")
        data = read_array(Path(path))
        if isinstance(data, Mapping):
            inputs.update(data)
            continue
        free = [n for n in module.input_names if n not in inputs]
        if not name and not free:
            raise UsageError(f"'{text}': the model has no input left to feed")
        inputs[name or free[0]] = data
    missing = tuple(value for value in module.program.inputs if value.name not in inputs)
    if missing and (arguments.random or (not inputs and arguments.command is run_compare)):
        inputs |= random_inputs(missing, dict(map(parse_size, arguments.size)), arguments.seed)
    return inputs


def parse_size(text: str) -> tuple[str, int]:
    """`NAME=N` as a pair."""
    name, _, size = text.rpartition("=")
    if not name or not size.isdigit():
        raise UsageError(f"--size takes NAME=N, got '{text}'")
    return name, int(size)


def run_info(arguments: argparse.Namespace) -> int:
    """`onnxla info`."""
    model = ir.read(arguments.file)
    ir.verify(model)
    print(summarize(model, find_parameters(model), {}))
    findings = onnxla.check(arguments.file)
    for note in findings.notes:
        print(f"note: {note}")
    return 0 if findings.ok else 1


def run_model(arguments: argparse.Namespace) -> int:
    """`onnxla run`."""
    module = onnxla.load(arguments.file)
    outputs = module.run(read_inputs(module, arguments))
    arrays = {name: np.asarray(value) for name, value in outputs.items() if value is not None}
    for name, array in arrays.items():
        print(f"{name}: {array.dtype}{list(array.shape)}")
        if arguments.output is None:
            print(np.array2string(array, threshold=20, precision=6))
    if arguments.output is not None:
        write_arrays(arguments.output, arrays)
    return 0


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes outputs to an .npz file, or the only one to an .npy file."""
    if path.suffix == ".npy":
        if len(arrays) != 1:
            raise UsageError(f"'{path}' holds one array, the model has {len(arrays)} outputs")
        np.save(path, next(iter(arrays.values())))
    else:
        path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        with path.open("wb") as file:
            np.savez(file, allow_pickle=True, **arrays)
    print(f"written to {path}")


def run_compare(arguments: argparse.Namespace) -> int:
    """`onnxla compare`."""
    module = onnxla.load(arguments.file)
    comparison = onnxla.compare(
        module,
        read_inputs(module, arguments),
        arguments.against,
        rtol=arguments.rtol,
        atol=arguments.atol,
    )
    print(comparison)
    return 0 if comparison.ok else 1


def run_demo(arguments: argparse.Namespace) -> int:
    """`onnxla demo`."""
    from onnxla.commands.demo import demo

    demo(arguments.model, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
