"""Numbers that are looked up in a table which has no such row: an error where they are at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import onnxla
from support.small_models import header, make

RNG = np.random.default_rng(0)
ROWS = 9
TABLE = RNG.normal(size=(ROWS, 3)).astype(np.float32)
# Looked up as they are, through nodes that move them, and in a table that is made of another.
FORMS = {
    "plain": "e = Gather (table, ids)",
    "moved": """
        c = Cast <to = 6> (ids)
        u = Unsqueeze (c, last)
        t = Transpose <perm = [0, 2, 1]> (u)
        f = Gather (table, t)
        e = Squeeze (f, first)""",
    "converted": """
        half = Cast <to = 10> (table)
        whole = Cast <to = 1> (half)
        e = Gather (whole, ids)""",
}


def load(form: str = "plain") -> onnxla.Module:
    text = f" m (int64[N, T] ids) => (float[N, T, 3] e) {{ {FORMS[form]} }}"
    axes = {"last": np.array([2]), "first": np.array([1])} if form == "moved" else {}
    return onnxla.load(make(header() + text, table=TABLE, **axes))


IDS = RNG.integers(0, ROWS, (6, 4))
WRONG = IDS.copy()
WRONG[4, 2] = ROWS
MESSAGE = rf"'ids' has {ROWS} at \[4, 2\], and Gather -> .* looks it up in 'table', .* rows 0 to 8"


@pytest.mark.parametrize("form", FORMS)
def test_a_call(form: str) -> None:
    module = load(form)
    assert [*module.program.lookups] == ["ids"]
    for _ in range(4):  # the later ones go a shorter way
        np.testing.assert_allclose(module(IDS), TABLE[IDS], rtol=1e-3)
        np.testing.assert_array_equal(module(IDS - ROWS), module(IDS))  # from the end
    for given in (WRONG, -WRONG - 1):
        with pytest.raises(ValueError, match="looks it up in 'table'"):
            module(given)
    with pytest.raises(ValueError, match=MESSAGE):
        module.run({"ids": WRONG})
    with pytest.raises(ValueError, match=MESSAGE):
        module.specialize(ids=WRONG)
    assert module(IDS[:0]).shape == (0, 4, 3)
    assert np.isnan(module(jax.numpy.asarray(WRONG))[4, 2]).all()  # nobody waits for a device


def ragged(ids: np.ndarray) -> list[np.ndarray]:
    return [row[: 2 + i % 2] for i, row in enumerate(ids)]


DATA: dict[str, Callable[[np.ndarray], Any]] = {
    "arrays": lambda ids: (ids, TABLE[IDS]),
    "samples": lambda ids: [*zip(ids, TABLE[IDS], strict=True)],
    "batches": lambda ids: [(ids[i : i + 2], TABLE[IDS[i : i + 2]]) for i in (0, 2, 4)],
}


@pytest.mark.parametrize("form", DATA)
def test_data(form: str) -> None:
    module = load()
    options: dict[str, Any] = {"batch_size": 2, "progress": False}
    right, wrong = DATA[form](IDS), DATA[form](WRONG)
    onnxla.fit(module, right, "mse", shuffle=False, **options)
    message = "'ids' has 9 at"
    with pytest.raises(ValueError, match=message) as caught:
        onnxla.fit(module, wrong, "mse", shuffle=False, **options)
    if form == "batches":  # two were good
        assert len(caught.value.result.history.loss) == 2  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=message):
        onnxla.evaluate(module, wrong, "mse", **options)
    with pytest.raises(ValueError, match=message):
        onnxla.predict(module, wrong, **options)


def test_sequences_of_different_lengths() -> None:
    module = load()
    assert len(onnxla.predict(module, ragged(IDS), 2, progress=False)) == 6
    with pytest.raises(ValueError, match="'ids' has 9 at"):
        onnxla.predict(module, [*ragged(IDS), WRONG[4]], 2, progress=False)


def test_what_may_not_be_looked_up_is_not_checked() -> None:
    """A part of the numbers alone is looked up, or what is computed from them."""
    module = onnxla.load(
        make(
            header()
            + """ m (int64[N, T] ids, int64[N, T] far) => (float[N, 1, 3] e, float[N, T, 3] f) {
                part = Slice (ids, zero, one, one)
                e = Gather (table, part)
                near = Clip (far, low, high)
                f = Gather (table, near)
            }""",
            table=TABLE,
            zero=np.array([0]),
            one=np.array([1]),
            low=np.array(0),
            high=np.array(ROWS - 1),
        )
    )
    assert not module.program.lookups
    module(WRONG[:1], WRONG[:1] * 10)


@pytest.mark.parametrize("to", [9, 2], ids=["bool", "uint8"])
def test_a_conversion_may_change_numbers(to: int) -> None:
    """What a mask is looked up as, or a byte, is another number than the input."""
    text = f""" m (int64[N, T] ids) => (float[N, T, 3] e) {{
        c = Cast <to = {to}> (ids)
        i = Cast <to = 7> (c)
        e = Gather (table, i)
    }}"""
    module = onnxla.load(make(header() + text, table=TABLE))
    given = np.array([[0, 258]])
    np.testing.assert_array_equal(
        module(given), TABLE[given.astype(bool if to == 9 else np.uint8) * 1]
    )
