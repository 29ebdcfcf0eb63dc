"""A bar shows how far a long work has come, where tqdm is there, and it is wanted and watched."""

from __future__ import annotations

import sys

import pytest

from onnxla.progress import ProgressBar


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is a terminal."""
    monkeypatch.setattr("onnxla.progress.is_watched", lambda: True)


def work(bar: ProgressBar) -> None:
    with bar:
        bar.show("baking", oven=200)
        bar.advance(3)
        bar.say("one is burnt")
        bar.skip(2)
        bar.advance(5)


@pytest.mark.usefixtures("watched")
def test_a_bar_counts_and_says(capsys: pytest.CaptureFixture[str]) -> None:
    work(ProgressBar(10, "cakes", "cake", done=0))
    out, err = capsys.readouterr()
    assert out == ""
    assert "cakes:   0%" in err
    assert "one is burnt" in err
    last = err.rstrip().rsplit("\r", 1)[-1]
    assert "baking: 100%" in last
    assert "8/8" in last
    assert "oven=200" in last


@pytest.mark.usefixtures("watched")
def test_what_was_done_before_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(10, "cakes", "cake", done=4) as bar:
        bar.advance()
    assert "5/10" in capsys.readouterr().err


@pytest.mark.usefixtures("watched")
def test_no_bar_where_none_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    work(ProgressBar(10, "cakes", "cake", shown=False))
    assert capsys.readouterr() == ("", "one is burnt\n")


def test_no_bar_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    work(ProgressBar(10, "cakes", "cake"))
    assert capsys.readouterr() == ("", "one is burnt\n")


@pytest.mark.usefixtures("watched")
def test_no_bar_without_tqdm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    work(ProgressBar(10, "cakes", "cake"))
    assert capsys.readouterr() == ("", "one is burnt\n")
