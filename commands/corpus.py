"""The command `onnxla corpus`: cases with expected values, as files for any runtime."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onnxla.commands.json_values import printed
from onnxla.commands.numbers import whole
from onnxla.progress import ProgressBar

DESCRIPTION = """\
Writes cases of every operator at every schema version with the values expected of them, in the
layout of the node tests that onnx had; or runs a runtime on such a folder."""


def add_corpus(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "corpus", help="write or run cases with expected values", description=DESCRIPTION
    )
    parts = command.add_subparsers(required=True, metavar="PART")
    export = parts.add_parser("export", help="write a corpus")
    add = export.add_argument
    add("operators", nargs="*", metavar="OP", help="names or patterns (default: all)")
    add("--out", type=Path, required=True, metavar="FOLDER", help="an empty folder")
    add("--opset", type=whole(1), required=True, help="up to which versions are written")
    add("-n", "--count", type=whole(1), default=10, metavar="N", help="of each (default: 10)")
    add("--seed", type=whole(0), default=0, help="the same cases for the same seed (default: 0)")
    add("--newest", action="store_true", help="only the versions that hold in the opset")
    add("--json", action="store_true", help="print a JSON document")
    export.set_defaults(command=run_export)
    check = parts.add_parser("check", help="run a runtime on a corpus")
    check.add_argument("folder", type=Path, metavar="FOLDER")
    check.add_argument("--runtime", default="onnxla", help="as of `fuzz` (default: %(default)s)")
    check.add_argument("--json", action="store_true", help="print a JSON document")
    check.set_defaults(command=run_check)


def run_export(arguments: argparse.Namespace) -> int:
    """`onnxla corpus export`."""
    from onnxla.testing.corpus import export_corpus
    from onnxla.testing.operator_cases import select_operators

    total = len(select_operators(arguments.operators, arguments.opset))
    with ProgressBar(total, "operators", "operator") as bar:

        def progress(name: str, made: int) -> None:
            bar.show(name)
            bar.advance()

        manifest = export_corpus(
            arguments.out,
            arguments.opset,
            arguments.operators,
            arguments.count,
            arguments.seed,
            arguments.newest,
            progress,
        )
    cases = len(manifest["cases"])
    if arguments.json:
        print(printed({"out": str(arguments.out), "cases": cases, "fewer": manifest["fewer"]}))
        return 0
    print(f"{cases} cases written to {arguments.out}")
    for name, made in manifest["fewer"].items():
        print(f"{name}: {made} of {arguments.count}, since no two judges agree on more")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """`onnxla corpus check`."""
    import collections

    from onnxla.peers.runtimes import find_runtime
    from onnxla.testing.corpus import check_corpus
    from onnxla.testing.outcomes import WRONG

    counts: collections.Counter[str] = collections.Counter()
    wrong = []
    for name, outcome in check_corpus(arguments.folder, find_runtime(arguments.runtime)):
        counts[outcome.kind] += 1
        if outcome.kind in WRONG:
            wrong.append({"case": name, "outcome": outcome.kind, "detail": outcome.detail})
            if not arguments.json:
                print(f"{name} {outcome.kind}: {outcome.detail}")
    if arguments.json:
        print(printed({"counts": counts, "wrong": wrong}))
    else:
        print(", ".join(f"{n} {kind}" for kind, n in counts.items()) or "no cases")
    return 1 if wrong else 0
