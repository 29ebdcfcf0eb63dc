"""The numbers of a run: as data, tables and pictures, and live in a notebook."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import onnxla
from onnxla.train.history import History
from onnxla.train.smoothing import is_wide, smoothed
from support.small_models import header, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
Y = np.arange(12) % 3
MODEL = make(
    header() + " m (float[N, 4] x) => (float[N, 3] z) { z = MatMul (x, w) }",
    w=RNG.standard_normal((4, 3)).astype(np.float32),
)


@pytest.fixture(scope="module")
def history() -> History:
    return onnxla.fit(
        onnxla.load(MODEL),
        (X, Y),
        "cross_entropy",
        epochs=8,
        batch_size=4,
        validation=(X, Y),
        validate_every=2,
        metrics="accuracy",
        progress=False,
    ).history


def test_columns_are_complete(history: History) -> None:
    assert history.steps.keys() == {"loss", "gradient_norm", "learning_rate"}
    assert {len(column) for column in history.steps.values()} == {24}
    assert history.epochs.keys() == {"step", "loss", "validation_loss", "accuracy"}
    assert history.metrics == ["accuracy"]
    assert len(history.speed) == 24
    assert min(history.speed) > 0
    assert "samples per second" in str(history)


def test_what_begins_later_or_ends_earlier_keeps_its_rows() -> None:
    history = History({"loss": [1.0, 2.0]}, {"step": [2], "loss": [1.5]})
    history.add_step(loss=3.0, learning_rate=0.1)
    history.add_step(loss=4.0)
    history.add_epoch(step=4, loss=3.5, accuracy=0.5)
    history.add_epoch(step=6, loss=3.5)
    np.testing.assert_equal(
        history.steps,
        {"loss": [1, 2, 3, 4], "learning_rate": [math.nan, math.nan, 0.1, math.nan]},
    )
    np.testing.assert_equal(history.epochs["accuracy"], [math.nan, 0.5, math.nan])
    history.add_speed(7.0)
    np.testing.assert_equal(history.speed, [math.nan] * 3 + [7])


def test_data_for_json(history: History) -> None:
    again = History(**json.loads(json.dumps(history.to_dict())))
    assert again == history
    assert again.speed == history.speed
    again.speed = []
    assert again == history  # the clock says nothing of what was computed
    again.steps["loss"][3] += 1
    assert again != history


def test_the_table_says_what_it_hides() -> None:
    history = History()
    for step in range(32):
        history.add_epoch(step=step, loss=1.0)
    text = str(history)
    assert "12 earlier epochs are not shown" in text
    assert "\n  12     12    1\n" in text
    assert "\n  11     11    1\n" not in text
    del history.epochs["step"][20:], history.epochs["loss"][20:]
    assert "not shown" not in str(history)


# Pictures


def test_panels(history: History) -> None:
    figure = history.plot()
    losses, metrics, rates = figure.axes
    labels = ["loss", "loss, smoothed", "validation loss"]
    assert [line.get_label() for line in losses.lines] == labels
    assert [len(line.get_xdata()) for line in losses.lines] == [24, 24, len(range(2, 25, 2)) + 4]
    assert [line.get_label() for line in metrics.lines] == ["accuracy"]
    np.testing.assert_array_equal(rates.lines[0].get_ydata(), history.steps["learning_rate"])
    assert figure._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"


def test_axes_that_are_given(history: History) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert history.plot(axes) is axes
    assert len(axes.lines) == 3


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([1.0, 0.5, 0.02], "linear"), ([1.0, 0.5, 0.005], "log"), ([1.0, 0.5, -0.005], "linear")],
)
def test_a_logarithmic_scale_from_two_decades_on(losses: list[float], scale: str) -> None:
    assert History({"loss": losses}).plot().axes[0].get_yscale() == scale
    assert is_wide(losses) == (scale == "log")


def test_values_that_are_not_finite_leave_gaps() -> None:
    history = History({"loss": [1.0, math.inf, 2.0]}, {"step": [3], "validation_loss": [math.nan]})
    (line, _) = history.plot().axes[0].lines
    np.testing.assert_equal(line.get_ydata(), [1, math.nan, 2])
    assert "<img" in history._repr_html_()


def test_smoothing() -> None:
    np.testing.assert_allclose(smoothed([3.0] * 50), 3)  # unbiased from the first value on
    noise = RNG.standard_normal(1000)
    curve = smoothed(noise)
    assert np.std(curve[200:]) < 0.3
    np.testing.assert_array_equal(smoothed([1.0, 5.0]), [1, 5])


# Notebooks

CELLS = (
    "import numpy as np, onnxla, onnxla.train.live\n"
    "onnxla.train.live.SECONDS = onnxla.train.live.SHARE = 0.5\n"
    "import time\n"
    "x = np.ones((12, 4), np.float32)\n"
    "result = onnxla.fit(onnxla.load('m.onnx'), (x, np.arange(12) % 3), 'cross_entropy',\n"
    "    epochs=6, batch_size=4, callbacks=lambda step, logs: time.sleep(0.1))",
    "result.history.plot()",
    "result.history",
    "import matplotlib.pyplot\nresult.history.plot()",
    "onnxla.lr_find(onnxla.load('m.onnx'), (x, np.arange(12) % 3), 'cross_entropy', steps=20)",
)


def test_a_notebook_shows_pictures(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(MODEL)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()
    live, plot, table, with_pyplot, search = (shown(cell) for cell in notebook.cells)
    assert "18 steps" in live[-1]["text/html"]  # in place of what was shown while it ran
    assert len([data for data in live if "steps" in data.get("text/html", "")]) == 1
    for data in (plot, with_pyplot):
        assert ["image/png" in each for each in data] == [True]
    assert "data:image/png" in table[0]["text/html"]
    assert "learning rates from" in search[-1]["text/html"]


def shown(cell: Any) -> list[Any]:
    """What a cell shows besides its text streams."""
    return [output["data"] for output in cell.outputs if "data" in output]
