"""Runs over many operators: they go on, are split, replayed and cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxla.commands import main as cli
from onnxla.commands.fuzz import of_graphs
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.runs import FuzzPlan, FuzzRun, shard

OPERATORS = [("", "Neg"), ("", "Abs"), ("", "Not")]
DOUBLING = "support.small_runtimes:Doubling"


def test_a_run_goes_on_from_its_file(tmp_path: Path) -> None:
    plan, file = FuzzPlan(DOUBLING, ("reference",), examples=10), tmp_path / "results.jsonl"
    seen: list[str] = []
    first = FuzzRun(plan, OPERATORS[:2], file)(lambda result: seen.append(result.name))
    assert seen == ["Neg", "Abs"]
    with file.open("a") as cut:
        cut.write('{"name": "No')  # as a process that was killed leaves it
    everything = FuzzRun(plan, OPERATORS, file)
    assert everything.left == [("", "Not")]
    results = everything(lambda result: seen.append(result.name))
    assert seen == ["Neg", "Abs", "Not"]
    assert [r.record() for r in results[:2]] == [r.record() for r in first]
    assert not FuzzRun(plan, OPERATORS, file).left
    with pytest.raises(ValueError, match="is of another run: seed was 0"):
        FuzzRun(FuzzPlan(DOUBLING, ("reference",), examples=10, seed=1), OPERATORS, file)
    (tmp_path / "other").write_text("no\n")
    with pytest.raises(ValueError, match="is no file of results"):
        FuzzRun(plan, OPERATORS, tmp_path / "other")


@pytest.mark.parametrize(
    "line",
    ["garbage", "[]", '{"name": "Neg"}', '{"digest": "", "counts": 5}'],
    ids=["no JSON", "a list", "no digest", "no counts"],
)
def test_a_damaged_file_of_results(line: str, tmp_path: Path) -> None:
    plan, file = FuzzPlan(DOUBLING, ("reference",), examples=10), tmp_path / "results.jsonl"
    FuzzRun(plan, OPERATORS, file)
    with file.open("a") as results:
        results.write(f"{line}\n")
    with pytest.raises(ValueError, match=r"line 2 of .* is damaged: without it, its operator"):
        FuzzRun(plan, OPERATORS, file)
    for head in (b'{"plan": 5}\n', b"\xff\n", b""):
        file.write_bytes(head)
        with pytest.raises(ValueError, match="is no file of results"):
            FuzzRun(plan, OPERATORS, file)


def test_operators_whose_sources_changed_are_run_again(tmp_path: Path) -> None:
    plan, file = FuzzPlan(DOUBLING, ("reference",), examples=5), tmp_path / "results.jsonl"
    FuzzRun(plan, OPERATORS[:2], file)(lambda result: None)
    assert not FuzzRun(plan, OPERATORS[:2], file, changed=True).left
    lines = file.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), "digest": "of another source"})
    file.write_text("\n".join(lines) + "\n")
    assert FuzzRun(plan, OPERATORS[:2], file, changed=True).left == [("", "Neg")]


def test_time_that_is_over_cuts_a_run(tmp_path: Path) -> None:
    plan, file = FuzzPlan(examples=10), tmp_path / "results.jsonl"
    run = FuzzRun(plan, OPERATORS, file, until=time.monotonic() - 1)
    assert run(lambda result: None) == []
    assert FuzzRun(plan, OPERATORS, file).left == OPERATORS
    late = plan.fuzz(OPERATORS[0], until=time.monotonic() - 1)
    assert late.cut == "out of time"


def test_parts() -> None:
    parts = [shard(OPERATORS, f"{i}/2") for i in (1, 2)]
    assert parts == [[("", "Neg"), ("", "Not")], [("", "Abs")]]
    for text in ("3/2", "0/2", "1", "a/b"):
        with pytest.raises(ValueError, match="a part is a number of how many, such as 1/4"):
            shard(OPERATORS, text)


def test_failing_cases_are_tried_first_next_time(tmp_path: Path) -> None:
    """Few cases would not find it: what was found before is in the folder."""
    plan = FuzzPlan(DOUBLING, ("reference",), examples=30, database=str(tmp_path))
    assert not plan.fuzz(("", "Neg")).ok
    few = FuzzPlan(DOUBLING, ("reference",), examples=1, seed=5, database=str(tmp_path))
    result = few.fuzz(("", "Neg"))
    assert result.counts["disagreed"] >= 1
    assert FuzzPlan(DOUBLING, ("reference",), examples=1, seed=5).fuzz(("", "Neg")).ok


def test_saved_cases_are_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuzz", "Neg", "--runtime", DOUBLING, "--against", "reference"]
    assert cli.main([*words, "-n", "10", "--save", str(tmp_path)]) == 1
    assert "\nNeg-13 disagreed: output 'y0'" in capsys.readouterr().out
    assert cli.main([*words, "--replay", str(tmp_path)]) == 1
    assert "doubling: 1 of 1 cases are wrong" in capsys.readouterr().out
    assert cli.main(["fuzz", "--replay", str(tmp_path)]) == 0
    assert "onnxla: 0 of 1 cases are wrong" in capsys.readouterr().out
    assert cli.main(["fuzz", "--replay", str(tmp_path / "none")]) == 2
    assert "--replay takes a folder of saved cases" in capsys.readouterr().err


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuzz", "Neg", "--runtime", DOUBLING, "--against", "reference", "--json"]
    report = ["--report", str(tmp_path / "report.txt")]
    assert cli.main([*words, *report, "-n", "10", "--save", str(tmp_path)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["runtime"], found["judges"]) == ("doubling", ["reference"])
    (operator,) = found["operators"]
    assert operator["name"] == "Neg"
    assert operator["counts"]["disagreed"] >= 1
    assert cli.main([*words, "--replay", str(tmp_path)]) == 1
    replayed = json.loads(capsys.readouterr().out)
    assert replayed["wrong"] == 1
    assert replayed["cases"][0]["outcome"] == "disagreed"


def test_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuzz", "Bitwise*", "--skip", "BitwiseNot", "--shard", "1/3", "-n", "2"]
    assert cli.main(words) == 0
    assert "2 cases of 1 operator," in capsys.readouterr().out


def test_a_baseline_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "baseline.json", tmp_path / "report.html"
    words = ["fuzz", "Neg", "--runtime", DOUBLING, "--against", "reference", "-n", "20"]
    known = [*words, "--baseline", str(file)]
    assert cli.main([*words, "--update-baseline"]) == 2
    assert "--update-baseline needs the file" in capsys.readouterr().err
    assert cli.main([*known, "--update-baseline", "--report", str(page)]) == 0
    assert page.stat().st_size
    assert cli.main([*known, "--seed", "1"]) == 0
    assert cli.main([*known, "--most", "1", "--seed", "2"]) == 0  # beside those that are known
    repaired = [word if word != DOUBLING else "onnxla" for word in words]
    begun = tmp_path / "results.jsonl"
    assert cli.main([*repaired, "--baseline", str(file), "--results", str(begun)]) == 2
    assert "the baseline is of 'doubling'" in capsys.readouterr().err
    assert not begun.exists()  # no case was run
    nowhere = ["--baseline", str(tmp_path / "none" / "file"), "--update-baseline"]
    assert cli.main([*words, *nowhere]) == 2
    assert "is in no folder that there is" in capsys.readouterr().err


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    plan, file = FuzzPlan(DOUBLING, ("reference",), examples=3), tmp_path / "results.jsonl"
    first, second = (FuzzRun(plan, OPERATORS[:1], file) for _ in range(2))
    refusals: list[str] = []

    def meanwhile(result: Fuzzed) -> None:
        with pytest.raises(ValueError, match=r"results\.jsonl' is written by another run now"):
            second(lambda other: None)
        refusals.append(result.name)

    first(meanwhile)
    assert refusals == ["Neg"]
    assert second(lambda other: None)


def test_graphs_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuzz", "--graphs", "--max-nodes", "3", "--opset", "20", "-n", "3"]
    assert cli.main([*words, "--against", "reference"]) == 0
    assert "3 cases" in capsys.readouterr().out


def test_graphs_of_some_operators(capsys: pytest.CaptureFixture[str]) -> None:
    assert not cli.main(
        ["fuzz", "--graphs", "-n", "2", "Add", "Neg", "If", "--skip", "Neg", "--json"]
    )
    assert json.loads(capsys.readouterr().out)["operators"][0]["name"] == "graphs"
    assert of_graphs(["Reduce*Su*", "Add", "If"], ["*Log*", "*Sq*"], None) == [
        "Add",
        "ReduceSum",
        "If",
    ]
    for words, text in (
        (["StringConcat"], "without random ones, and of these none is asked for: 'StringConcat'"),
        (["--specials"], "--specials is of single operators, not of --graphs"),
        (["--operands", "fed"], "--operands is of single operators, not of --graphs"),
    ):
        assert cli.main(["fuzz", "--graphs", "-n", "1", *words])
        assert text in capsys.readouterr().err


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.more)])
def test_ctrl_c_tells_what_has_been_found(workers: int, tmp_path: Path) -> None:
    code = "import sys; from onnxla.commands.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["fuzz", "Neg", "Abs", "--runtime", "slow:Slow", "--against", "reference", "-n", "500"]
    (tmp_path / "slow.py").write_text(
        """
import time
from onnxla.testing import Reference

class Slow:
    name = "slow"
    def run(self, model, inputs):
        time.sleep(0.05)
        print("run", flush=True)
        return [2 * y for y in Reference().run(model, inputs)]
"""
    )
    pipe = subprocess.PIPE
    words += ["--results", "kept.jsonl", "--workers", str(workers)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for _ in range(20):
        assert process.stdout.readline() == "run\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all processes
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "slow against reference" in printed
    assert "helper.make_node('Neg'" in printed
    assert "Traceback" not in errors
    assert ("1 of 2 operators were not reached" in errors) is (workers == 1)
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 1  # Neg is to be run again


@pytest.mark.more
def test_several_processes(tmp_path: Path) -> None:
    plan = FuzzPlan(DOUBLING, ("reference",), examples=20)
    alone = FuzzRun(plan, OPERATORS)(lambda result: None)
    together = FuzzRun(plan, OPERATORS, tmp_path / "results.jsonl", workers=2)(lambda result: None)
    for one, other in zip(alone, together, strict=True):
        assert {**one.record(), "seconds": 0} == {**other.record(), "seconds": 0}
