"""The command `onnxla fuzz`: tests a runtime on random uses of operators."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401  so that numpy knows its dtypes by name
import numpy as np

from onnxla.commands.json_values import printed
from onnxla.commands.messages import printable
from onnxla.commands.numbers import duration, positive, whole
from onnxla.ir.names import quoted
from onnxla.progress import ProgressBar

if TYPE_CHECKING:
    from onnxla.testing.baselines import Baseline
    from onnxla.testing.fuzzing import Fuzzed
    from onnxla.testing.runs import FuzzPlan

DESCRIPTION = """\
Draws valid uses of operators at all their schema versions, runs them in a runtime and in those
that judge it, and reports where it is wrong, with the simplest case of each finding. A runtime is
onnxla, reference (the onnx package's), onnxruntime (or onnxruntime:PROVIDER), iree, onnx2torch,
openvino, tinygrad, tract, tvm; MODULE:NAME or FILE.py:NAME, an object or a class with `name` and
`run(model, inputs)`; or a command such as 'mytool {model} {inputs} {outputs}', which gets a file
and two folders. Ctrl-C ends it with what has been found."""


def add_fuzz(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "fuzz", help="test a runtime on random uses of operators", description=DESCRIPTION
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
        "--python",
        metavar="PYTHON",
        help="the interpreter of another environment, with numpy, which runs what is tested: "
        "FILE.py:NAME, or a runtime by its name",
    )
    add(
        "--timeout",
        type=positive,
        metavar="SECONDS",
        help="how long what is tested may take for a case (default: 60, where it has a process "
        "of its own)",
    )
    add(
        "--memory",
        type=whole(1),
        metavar="MIB",
        help="how much memory it may have, as addresses (default: all)",
    )
    add(
        "--against",
        action="append",
        metavar="RUNTIME",
        help="who judges: the first that has an answer, confirmed by the others; repeatable "
        "(default: onnxla, reference, and onnxruntime if it is installed); `properties` compares "
        "the runtime with itself: repeated, with stored operands, upgraded, with a larger batch; "
        "onnxla also by jit, vmap, gradients and saving; `gradients` compares the runtime's with "
        "onnxla's; `refusals` draws what the schemas forbid",
    )
    add("--skip", action="append", metavar="OP", default=[], help="operators to leave out")
    add("--graphs", action="store_true", help="graphs instead of single operators")
    add("--max-nodes", type=whole(1), default=6, metavar="N", help="of a graph (default: 6)")
    add(
        "-n",
        "--examples",
        type=whole(1),
        default=100,
        metavar="N",
        help="cases of each (default: 100)",
    )
    add("--seed", type=whole(0), default=0, help="the same cases for the same seed (default: 0)")
    add("--opset", type=opsets, metavar="N[-M]", help="only schema versions that these opsets have")
    add("--dtype", action="append", metavar="DTYPE", default=[], help="as float32; repeatable")
    add("--specials", action="store_true", help="also NaN, infinities and extreme integers")
    add("--no-empty", action="store_true", help="no axes of size 0")
    add("--no-scalars", action="store_true", help="no operands without axes")
    add(
        "--operands",
        choices=("any", "fed", "stored"),
        default="any",
        help="whether operands are inputs of the model or stored in it (default: any)",
    )
    add(
        "--most",
        type=whole(1),
        default=8,
        metavar="N",
        help="findings of an operator, beside those of --baseline (default: 8)",
    )
    add("--max-time", type=duration, metavar="TIME", help="such as 90s, 30m or 2h")
    add("--workers", type=whole(1), default=1, metavar="N", help="processes (default: 1)")
    add("--shard", metavar="I/N", help="only one of N parts of the operators")
    add("--results", type=Path, metavar="FILE", help="keep what is done there, and go on from it")
    add(
        "--changed",
        action="store_true",
        help="of --results, run again the operators whose source files have changed",
    )
    add(
        "--database",
        type=Path,
        metavar="FOLDER",
        help="keep cases that fail, tried first next time",
    )
    add(
        "--replay",
        type=Path,
        metavar="FOLDER",
        help="run the cases that --save wrote, and no other",
    )
    add(
        "--report",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="write the report in the form of the ending: .txt, .html, .md, .jsonl, .xml (JUnit), "
        ".sarif, .matrix.html, .matrix.json, .svg (a badge); repeatable",
    )
    add("--json", action="store_true", help="print a JSON document instead of the report")
    add("--baseline", type=Path, metavar="FILE", help="failures that are known, and must stay so")
    add("--update-baseline", action="store_true", help="write the failures of today to --baseline")
    add(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="write the simplest case of each finding, as .onnx and .npz",
    )
    command.set_defaults(command=run_fuzz)


def opsets(text: str) -> int | tuple[int, int]:
    """An opset, such as 21, or a range of them, such as 13-21."""
    first, dash, last = text.rpartition("-")
    version = whole(1)
    return (version(first), version(last)) if first and dash else version(text)


def run_fuzz(arguments: argparse.Namespace) -> int:
    """`onnxla fuzz`."""
    from onnxla.peers.preflight import preflight
    from onnxla.testing.fuzzing import INTERRUPTED
    from onnxla.testing.operator_cases import select_operators
    from onnxla.testing.reports.about import About
    from onnxla.testing.reports.json_lines import records
    from onnxla.testing.reports.report import FuzzReport
    from onnxla.testing.runs import GRAPHS, FuzzPlan, FuzzRun, shard

    check_options(arguments)
    against = tuple(arguments.against or ())
    database = arguments.database and str(arguments.database.resolve())
    drawn: dict[str, Any] = {
        "opset": arguments.opset,
        "dtypes": arguments.dtype or None,
        "specials": arguments.specials,
        "empty": not arguments.no_empty,
        "scalars": not arguments.no_scalars,
        "operands": arguments.operands,
    }
    if arguments.graphs:
        drawn = {name: drawn[name] for name in ("opset", "dtypes") if drawn[name] is not None}
        drawn["max_nodes"] = arguments.max_nodes
        if arguments.operators or arguments.skip:
            drawn["ops"] = of_graphs(arguments.operators, arguments.skip, arguments.opset)
    baseline = known_failures(arguments.baseline, arguments.update_baseline)
    plan = FuzzPlan(
        arguments.runtime,
        against,
        arguments.examples,
        arguments.seed,
        arguments.most + (baseline.most if baseline else 0),  # those that are known hide none
        database,
        drawn,
        arguments.python,
        arguments.timeout,
        arguments.memory,
    )
    tested, judges = plan.tested, plan.judges
    runtimes = [tested, *([] if isinstance(judges, str) else judges)]
    chosen = [GRAPHS]
    if not arguments.graphs:
        chosen = select_operators(arguments.operators, arguments.opset)
        skipped = {*select_operators(arguments.skip)} if arguments.skip else set()
        chosen = [each for each in chosen if each not in skipped]
    if arguments.shard is not None:
        chosen = shard(chosen, arguments.shard)
    for runtime in runtimes:
        preflight(runtime)
    # The runtime has said its name: a baseline of another one is refused before any case is run.
    FuzzReport(tested.name, plan.names, [], baseline=baseline)
    if arguments.replay is not None:
        return replay(arguments.replay, plan, arguments.json)
    start = time.monotonic()
    until = arguments.max_time and start + arguments.max_time
    run = FuzzRun(plan, chosen, arguments.results, arguments.workers, until, arguments.changed)
    with ProgressBar(len(run.left) * plan.examples, "cases", "case") as bar:

        def each(result: Fuzzed) -> None:
            for finding in result.findings:
                bar.say(printable(f"{result.name} {finding.title}"))
                if arguments.save is not None:
                    finding.case.save(arguments.save / finding.signature.key)
            # An operator of few cases, such as one without inputs, is done earlier.
            bar.skip(plan.examples - result.counts.total())

        results = run(each, bar.advance)
    about = About.of_run(runtimes, seconds=time.monotonic() - start)
    report = FuzzReport(tested.name, plan.names, results, plan.seed, about, baseline)
    if arguments.update_baseline:
        baseline = report.updated_baseline()
        baseline.save(arguments.baseline)
        report = replace(report, baseline=baseline)
    run_record, *each_record = records(report)
    print(printed({**run_record, "operators": each_record}) if arguments.json else report)
    for path in arguments.report:
        report.save(path)
        print(f"written to {path}", file=sys.stderr if arguments.json else sys.stdout)
    if missing := len(chosen) - len(results):
        print(f"onnxla: {missing} of {len(chosen)} operators were not reached", file=sys.stderr)
    if any(result.cut == INTERRUPTED for result in results):
        return 130
    return 0 if report.ok else 1


def of_graphs(
    patterns: list[str], skipped: list[str], opset: int | tuple[int, int] | None
) -> list[str]:
    """Names of the operators that graphs are to have.

    Raises:
        ValueError: None of those that are asked for can be in a graph.
    """
    from onnxla.testing.operator_cases import select_operators
    from onnxla.testing.random_graphs import OPSET, SUBGRAPHS, graph_operators

    newest = opset[1] if isinstance(opset, tuple) else opset or OPSET
    asked = {*select_operators(patterns, opset)} - {*(select_operators(skipped) if skipped else ())}
    names = [name for name in (*graph_operators(newest), *SUBGRAPHS) if ("", name) in asked]
    if not names:
        raise ValueError(
            "graphs have operators of ONNX's own on tensors of numbers, without random ones, and "
            f"of these none is asked for: {quoted(' '.join(patterns or skipped))}"
        )
    return names


def replay(folder: Path, plan: FuzzPlan, as_json: bool = False) -> int:
    """Runs saved cases; the exit code is 1 if one is wrong, or there is none."""
    from onnxla.tables import Table
    from onnxla.testing.case import Case
    from onnxla.testing.fuzzing import way_of
    from onnxla.testing.outcomes import WRONG

    paths = sorted(folder.rglob("*.onnx"))
    if not paths:
        raise ValueError(f"--replay takes a folder of saved cases, and {quoted(folder)} has none")
    rows, wrong = [], 0
    outcome_of = way_of(plan.tested, plan.judges)
    for path in paths:
        outcome = outcome_of(Case.load(path))
        wrong += outcome.kind in WRONG
        rows.append((str(path.relative_to(folder)), outcome.kind, outcome.detail))
    columns = ("case", "outcome", "detail")
    title = f"{plan.tested.name}: {wrong} of {len(rows)} cases are wrong"
    cases = [dict(zip(columns, row, strict=True)) for row in rows]
    print(printed({"wrong": wrong, "cases": cases}) if as_json else Table(title, columns, rows))
    return 1 if wrong else 0


def known_failures(path: Path | None, new: bool) -> Baseline | None:
    """The baseline of a file, which need not be there if it is to be written."""
    from onnxla.testing.baselines import Baseline

    if path is None and new:
        raise ValueError("--update-baseline needs the file: --baseline FILE")
    return None if path is None or (new and not path.exists()) else Baseline.load(path)


def check_options(arguments: argparse.Namespace) -> None:
    """Raises ValueError where options would fail only after hours of work."""
    for dtype in arguments.dtype or ():
        try:
            np.dtype(dtype)
        except TypeError:
            raise ValueError(
                f"--dtype takes a dtype such as float32, got {quoted(dtype)}"
            ) from None
    for report in arguments.report:
        from onnxla.testing.reports.formats import form_of

        if report.is_dir() or not report.parent.is_dir():
            raise ValueError(f"--report {quoted(report)} is a folder, or in none that there is")
        form_of(report)
    usual = {"specials": False, "no_empty": False, "no_scalars": False, "operands": "any"}
    for option, value in usual.items() if arguments.graphs else ():
        if getattr(arguments, option) != value:
            raise ValueError(
                f"--{option.replace('_', '-')} is of single operators, not of --graphs"
            )
    written = arguments.baseline if arguments.update_baseline else None
    if written is not None and not written.parent.is_dir():
        raise ValueError(f"--baseline {quoted(written)} is in no folder that there is")
    for option in ("save", "database"):
        folder = getattr(arguments, option)
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ValueError(f"--{option} takes a folder, and {quoted(folder)} is none")
    if arguments.changed and arguments.results is None:
        raise ValueError("--changed needs the file of an earlier run: --results FILE")
