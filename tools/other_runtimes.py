"""Writes docs/findings/other-runtimes.md: what `onnxla fuzz` found in runtimes of third parties.

python tools/other_runtimes.py RESULTS...

A file of results is what `onnxla fuzz --runtime NAME --python PYTHON --results FILE` keeps; the
environment of PYTHON is asked for the version. The issues are those of `ISSUES`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from onnxla.peers.isolation import Isolated
from onnxla.testing import About
from onnxla.testing.findings import Finding
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.reports.markdown import issue
from onnxla.testing.reports.results import FuzzResults
from onnxla.testing.runs import FuzzPlan

PAGE = Path(__file__).resolve().parent.parent / "docs" / "findings" / "other-runtimes.md"
HEAD = """\
# Findings in other runtimes

What `onnxla fuzz --runtime NAME -n 50 --seed 18` found in runtimes of third parties, each in an
environment of its own ([Your runtime](../testing_runtimes.md)). A case is judged by onnxla, and
where the runtime disagrees also by the `onnx` package's reference evaluator and ONNX Runtime.
*Unsupported* is what the runtime says that it does not implement. A *finding* is a group of
failing cases with one cause, told by its simplest case; a disagreement is *confirmed* if two
judges give the expected value. onnx2torch ran with a stub in the place of torchvision. A run of
fewer than 296 operators is not over.

"""
# Of a finding, by its runtime and its key: what is wrong, and what the specification says.
ISSUES = {
    ("onnx2torch", "IsInf-10-445c3002"): (
        "IsInf finds the infinities that it is told not to find",
        "Of `detect_positive`: 'Set this attribute to 0 if positive infinity should be mapped to "
        "false.'",
    ),
    ("onnx2torch", "CumSum-14-e299f651"): (
        "CumSum sums in the opposite direction",
        "'It can also perform summation in the opposite direction of the axis. For that, set "
        "`reverse` attribute to 1.' Here it is not set.",
    ),
    ("onnx2torch", "Dropout-13-720f057b"): (
        "Dropout drops values where it does not train",
        "Of `training_mode`: 'It is an optional value hence unless specified explicitly, it is "
        "false. If it is false, ratio is ignored and the operation mimics inference mode where "
        "nothing will be dropped from the input data'.",
    ),
    ("onnx2torch", "Shape-13-cd8d3861"): (
        "Shape of a scalar is of floats",
        "'Takes a tensor as input and outputs an 1D int64 tensor containing the shape'.",
    ),
    ("onnx2torch", "NonZero-13-5436ebd6"): (
        "NonZero gives a row for each element instead of a row for each axis",
        "'NonZero behaves similar to numpy.nonzero', which gives an array of indices for each "
        "axis.",
    ),
    ("onnx2torch", "TopK-11-b68ce9ce"): (
        "TopK gives another one of equal elements",
        "'Given two equivalent values, this operator uses the indices along the axis as a "
        "tiebreaker. That is, the element with the lower index will appear first.'",
    ),
    ("onnx2torch", "ReduceMin-13-cb972102"): (
        "ReduceMin removes one axis before it counts the next from the end",
        "'Computes the min of the input tensor's elements along the provided axes. [...] Accepted "
        "range is [-r, r-1] where r = rank(data).'",
    ),
    ("tract", "Celu-12-cb72f23f"): (
        "Celu does not scale what is below zero",
        "'max(0,x) + min(0,alpha*(exp(x/alpha)-1))'.",
    ),
    ("tract", "LSTM-22-bc2bcd40"): (
        "LSTM of direction `reverse` runs forward",
        "'Specify if the RNN is forward, reverse, or bidirectional.' Here the last input alone is "
        "not 0, and the output at the first step must depend on it.",
    ),
    ("tract", "DFT-20-7957d1c8"): (
        "DFT transforms another axis where `axis` is left out",
        "'The axis as a scalar on which to perform the DFT. Default is `-2` (last signal axis).' "
        "It was 1 before opset 20.",
    ),
}


def report_of(path: Path) -> FuzzResults:
    """What a file of results has, with the versions of today."""
    first, *rest = map(json.loads, path.read_text("utf-8").splitlines())
    plan = FuzzPlan(**first["plan"])
    results = [Fuzzed.of_record({k: v for k, v in r.items() if k != "digest"}) for r in rest]
    tested = plan.tested
    if isinstance(tested, Isolated):
        tested.start()
    versions = About.of_run([tested, *plan.names]).versions
    return FuzzResults(plan.runtime, plan.names, results, plan.seed, About(versions))


def line(report: FuzzResults) -> str:
    """What came of a runtime, as a line of the table."""
    counts, found = report.counts, report.findings
    crashes = sum("took its process down" in each.detail for each in found)
    confirmed = sum(len(each.judges) > 1 for each in found)
    cells = (
        f"{report.runtime} {report.about.versions[report.runtime]}",
        f"{len(report.results)}",
        f"{counts.total():,}",
        f"{counts['agreed']:,}",
        f"{counts['unsupported']:,}",
        f"{counts['disagreed'] + counts['failed']:,}",
        f"{len(found)}",
        f"{confirmed}",
        f"{crashes}",
    )
    return f"| {' | '.join(cells)} |"


COLUMNS = (
    "runtime | operators | cases | agreed | unsupported | wrong | findings | confirmed | crashes"
)


def issue_text(report: FuzzResults, finding: Finding) -> str:
    """An issue, ready to be sent."""
    title, text = ISSUES[report.runtime, finding.signature.key]
    _, _, rest = issue(report, finding).partition("\n")
    return f"## {report.runtime}: {title}\n\n**What the specification says.** {text}\n{rest}"


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    reports = [report_of(path) for path in parser.parse_args().results]
    rule = "| --- |" + " ---: |" * COLUMNS.count("|")
    parts = [HEAD, f"| {COLUMNS} |\n{rule}\n", "\n".join(map(line, reports)), "\n"]
    texts = {
        (report.runtime, each.signature.key): issue_text(report, each)
        for report in reports
        for each in report.findings
        if (report.runtime, each.signature.key) in ISSUES
    }
    if missing := ISSUES.keys() - texts.keys():
        print(f"not among the findings: {sorted(missing)}")
    parts += [f"\n{texts[key]}" for key in ISSUES if key in texts]
    PAGE.write_text("".join(parts).rstrip() + "\n")


if __name__ == "__main__":
    main()
