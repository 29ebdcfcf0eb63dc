"""The command `onnxla fuzz`: compares two runtimes on random uses of operators."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  so that numpy knows its dtypes by name
import numpy as np

from onnxla.commands.numbers import whole
from onnxla.ir.names import quoted
from onnxla.progress import ProgressBar

DESCRIPTION = """\
Draws valid uses of operators at all their schema versions, runs them in two runtimes, and reports
where these differ, with the simplest case that does. A runtime is onnxla, onnxruntime, reference
(the onnx package's), or MODULE:NAME, an object or a class with `name` and `run(model, inputs)`."""


def add_fuzz(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "fuzz", help="compare runtimes on random uses of operators", description=DESCRIPTION
    )
    add = command.add_argument
    add(
        "operators",
        nargs="*",
        metavar="OP",
        help="names or patterns, such as Conv, 'Reduce*', 'com.microsoft.*' (default: all)",
    )
    add("--runtime", default="onnxla", help="what is tested (default: %(default)s)")
    add(
        "--against",
        default="reference",
        help="what it is compared with (default: %(default)s); `properties` checks onnxla's jit, "
        "vmap, gradients and saving against each other",
    )
    add(
        "-n",
        "--examples",
        type=whole(1),
        default=100,
        metavar="N",
        help="cases of each (default: 100)",
    )
    add("--seed", type=whole(0), default=0, help="the same cases for the same seed (default: 0)")
    add("--opset", type=whole(1), help="only the schema version that this opset has")
    add("--dtype", action="append", metavar="DTYPE", help="such as float32; repeatable")
    add("--specials", action="store_true", help="also NaN, infinities and extreme integers")
    add("--report", type=Path, metavar="FILE", help="write the report, as a page if .html")
    add(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="write the simplest case that differs of each operator, as .onnx and .npz",
    )
    command.set_defaults(command=run_fuzz)


def run_fuzz(arguments: argparse.Namespace) -> int:
    """`onnxla fuzz`."""
    from onnxla.peers.runtimes import find_runtime
    from onnxla.testing import fuzz
    from onnxla.testing.operator_cases import select_operators
    from onnxla.testing.reports.report import FuzzReport

    found = select_operators(arguments.operators, arguments.opset)
    check_options(arguments)
    tested = find_runtime(arguments.runtime)
    other = arguments.against
    if other != "properties":
        other = find_runtime(other)
    results = []
    total = len(found) * arguments.examples
    with ProgressBar(total, "cases", "case") as bar:
        for domain, op_type in found:
            bar.show(op_type)
            result = fuzz(
                op_type,
                tested,
                other,
                examples=arguments.examples,
                seed=arguments.seed,
                opset=arguments.opset,
                domain=domain,
                dtypes=arguments.dtype,
                specials=arguments.specials,
                progress=lambda outcome: bar.advance(),
            )
            results.append(result)
            if result.wrong:
                bar.say(f"{result.name} {result.wrong}")
            if result.case is not None and arguments.save is not None:
                result.case.save(arguments.save / f"{result.name}-{result.case.version}")
            # An operator of few cases, such as one without inputs, is done earlier.
            bar.skip(arguments.examples - result.counts.total())
    against = other if isinstance(other, str) else other.name
    report = FuzzReport(tested.name, (against,), results, arguments.seed)
    print(report)
    if arguments.report is not None:
        report.save(arguments.report)
        print(f"written to {arguments.report}")
    return 0 if report.ok else 1


def check_options(arguments: argparse.Namespace) -> None:
    """Raises ValueError where options would fail only after hours of work."""
    for dtype in arguments.dtype or ():
        try:
            np.dtype(dtype)
        except TypeError:
            raise ValueError(
                f"--dtype takes a dtype such as float32, got {quoted(dtype)}"
            ) from None
    report, folder = arguments.report, arguments.save
    if report is not None and (report.is_dir() or not report.parent.is_dir()):
        raise ValueError(f"--report {quoted(report)} is a folder, or in none that there is")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ValueError(f"--save takes a folder, and {quoted(folder)} is none")
