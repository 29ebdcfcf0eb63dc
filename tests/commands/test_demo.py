import jax
import numpy as np
import onnxruntime
import pytest

import onnxla
from onnxla.commands import demo
from onnxla.commands.downloads import fetch

WORDS = demo.TEST_WORDS


@pytest.fixture(scope="module")
def fonts():
    return demo.load_fonts(demo.TEST_FONTS)


def accuracy_as_shipped(pictures, labels):
    session = onnxruntime.InferenceSession(str(fetch(demo.MODEL)))
    return (session.run(None, {"x": pictures})[0].argmax(1) == labels).mean()


def test_nothing_tested_was_trained_on():
    assert not set(demo.TRAIN_WORDS.lower().split()) & set(demo.TEST_WORDS.lower().split())
    assert not set(demo.TRAIN_FONTS.split()) & set(demo.TEST_FONTS.split())


@pytest.mark.parametrize("degraded", [True, False])
def test_render(fonts, degraded):
    for font in fonts:
        picture = demo.render("Quartz 2048", font, np.random.default_rng(0), degraded)
        again = demo.render("Quartz 2048", font, np.random.default_rng(0), degraded)
        assert picture.shape == (3, 48, 192)
        assert picture.dtype == np.float32
        assert -1 <= picture.min() < picture.max() <= 1
        np.testing.assert_array_equal(picture, again)
        ink = np.abs(picture[0] - np.median(picture[0])) > 0.25
        assert 0.05 < ink.mean() < 0.6
        assert np.ptp(np.nonzero(ink.sum(1) > 8)[0]) > 20  # the text is large


@pytest.mark.parametrize("text", ["i", "Almond Umbrella 123456789", "gyj"])
def test_render_fits_any_text(fonts, text):
    assert demo.render(text, fonts[0], np.random.default_rng(0)).shape == (3, 48, 192)


def test_lines(fonts):
    pictures, labels = demo.lines(64, WORDS, fonts, np.random.default_rng(0), degraded=False)
    assert pictures.shape == (64, 3, 48, 192)
    assert labels.dtype == np.int32
    assert 16 < labels.sum() < 48
    again, _ = demo.lines(64, WORDS, fonts, np.random.default_rng(0), degraded=False)
    np.testing.assert_array_equal(pictures, again)


def test_the_shipped_model_reads_clean_lines_and_guesses_on_faint_ones(fonts):
    rng = np.random.default_rng(1)
    assert accuracy_as_shipped(*demo.lines(256, WORDS, fonts, rng, degraded=False)) > 0.9
    assert accuracy_as_shipped(*demo.lines(256, WORDS, fonts, rng)) < 0.65


def test_demo(tmp_path):
    said = []
    # Three steps exercise everything; that the full number suffices is seen by running the demo.
    with jax.numpy_dtype_promotion("standard"):  # optax needs it
        result = demo.demo(out=tmp_path / "out", steps=3, samples=128, say=said.append)
    assert result.unchanged
    assert result.max_difference < 1e-4
    assert result.before < 0.65
    assert result.clean_before > 0.9
    assert result.picture.stat().st_size > 10_000
    shipped, tuned = onnxla.load(fetch(demo.MODEL)), onnxla.load(result.tuned)
    changed = {n for n, p in shipped.params.items() if not np.array_equal(p, tuned.params[n])}
    assert changed == set(shipped.partition()[0])
    assert any(str(result.tuned) in line for line in said)


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    present = demo.find_spec
    monkeypatch.setattr(demo, "find_spec", lambda n: None if n == "optax" else present(n))
    with pytest.raises(onnxla.OnnxlaError, match=r"needs optax: pip install .onnxla\[notebook"):
        demo.demo()
