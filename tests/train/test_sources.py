"""What people have as data: each form gives the batches that arrays give, and a run resumes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import onnxla
from onnxla.train.batches import ArrayBatches, as_batches
from onnxla.train.held_out import hold_out
from onnxla.train.reading import make_reading
from support.small_models import header, make

RNG = np.random.default_rng(0)
COUNT, SIZE = 14, 4
X = RNG.standard_normal((COUNT, 4)).astype(np.float32)
Y = np.arange(COUNT) % 3
COLUMNS = [*"abcd"]


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


MODULE = onnxla.load(
    make(header() + " m (float[N, 4] x) => (float[N, 3] z) { z = MatMul (x, w) }", w=normal(4, 3))
)
# Two inputs, one number a sample each, as files of scikit-learn have them.
SCALARS = onnxla.load(
    make(
        header()
        + """ m (float[N, 1] a, float[N, 1] b) => (float[N, 3] z) {
            x = Concat <axis = 1> (a, b)
            z = MatMul (x, w)
        }""",
        w=normal(2, 3),
    )
)
TAGGER = onnxla.load(
    make(
        header()
        + """ m (int64[N, seq] ids, int64[N, seq] attention_mask) => (float[N, seq, 5] z) {
            e = Gather (table, ids)
            f = Cast <to = 1> (attention_mask)
            u = Unsqueeze (f, last)
            m = Mul (e, u)
            z = MatMul (m, w)
        }""",
        table=normal(9, 4),
        w=normal(4, 5),
        last=np.array([2]),
    )
)
RECURRENT = onnxla.load(
    make(
        header()
        + """ m (float[N, 4] x, float[1, N, 4] h0) => (float[N, 3] z, float[1, N, 4] h1) {
            h1 = Add (x, h0)
            h = Squeeze (h1, first)
            z = MatMul (h, w)
        }""",
        w=normal(4, 3),
        first=np.array([0]),
    )
)


def drawn(module: onnxla.Module, data: Any, size: int = SIZE, **options: Any) -> list[Any]:
    """All batches of an epoch."""
    names = {"rename", "batch_axis", "bucket"}
    reading = make_reading(module, **{k: v for k, v in options.items() if k in names})
    order = {k: v for k, v in options.items() if k not in names}
    batches = as_batches(module, data, size, reading=reading, **order)
    batches.first()  # which must not lose it
    return list(batches.epoch(0))


def same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for (inputs, targets), (others, labels) in zip(found, expected, strict=True):
        assert inputs.keys() == others.keys()
        for name, value in inputs.items():
            assert isinstance(value, np.ndarray)
            np.testing.assert_array_equal(value, others[name], name)
        np.testing.assert_array_equal(targets, labels)


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    return [(X[i : i + SIZE], Y[i : i + SIZE]) for i in range(0, COUNT, SIZE)]


ARRAYS = drawn(MODULE, (X, Y))


class Pairs:
    """A map-style dataset, without a base class."""

    def __init__(self, x: np.ndarray = X, y: Any = Y) -> None:
        self.x, self.y, self.read = x, y, 0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self):
            raise IndexError(index)
        self.read += 1
        return self.x[index], self.y[index]


class Augmented(Pairs):
    """Samples that are others each time."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + np.float32(self.read), y


class Sequences:
    """Batches by number, as of Keras's `Sequence`."""

    def __len__(self) -> int:
        return len(pairs())

    def __getitem__(self, index: int) -> Any:
        return pairs()[index]


FORMS: dict[str, Any] = {
    "a tuple": (X, Y),
    "a list of two arrays": [X, Y],
    "a list of inputs by name, and targets": [{"x": X}, Y],
    "lists": (X.tolist(), Y.tolist()),
    "a list of lists": [X.tolist(), Y.tolist()],
    "a list of pairs": list(zip(X, Y, strict=True)),
    "a list of dicts": [{"x": x, "label": y} for x, y in zip(X, Y, strict=True)],
    "a list of batches": pairs(),
    "a list of batches of lists": [[x.tolist(), y.tolist()] for x, y in pairs()],
    "a dataset": Pairs(),
    "a dataset of lists": Pairs(X.tolist(), Y.tolist()),
    "batches by number": Sequences(),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_give_the_batches_of_arrays(form: str) -> None:
    assert len(ARRAYS) == 4
    found = drawn(MODULE, FORMS[form])
    if "lists" in form:
        found = [({"x": b["x"].astype(np.float32)}, t) for b, t in found]
    same(found, ARRAYS)


def test_a_list_of_two_lists_may_be_two_things() -> None:
    x = X.tolist()
    same(drawn(MODULE, [x[:2], [0, 1]]), drawn(MODULE, (X[:2], Y[:2])))
    same(drawn(MODULE, [(x[0], x[1]), (x[2], x[3])]), drawn(MODULE, (X[[0, 2]], X[[1, 3]])))
    with pytest.raises(TypeError, match=r"may be \[inputs, targets\] or two pairs: write \(inputs"):
        as_batches(MODULE, [[x[0], x[1]], [x[2], x[3]]], SIZE)
    two = [[X[:4], Y[:4]], [X[4:8], Y[4:8]]]  # batches, as ever
    same(drawn(MODULE, two), drawn(MODULE, (X[:8], Y[:8])))


@pytest.mark.parametrize("data", [Pairs(), list(zip(X, Y, strict=True))], ids=["dataset", "list"])
def test_samples_are_shuffled_as_arrays_are(data: Any) -> None:
    for number in range(2):
        epochs = [
            list(as_batches(MODULE, each, SIZE, shuffle=True, seed=3).epoch(number, skip=1))
            for each in (data, (X, Y))
        ]
        same(*epochs)
        assert len(epochs[0]) == 2


def test_a_dataset_is_read_batch_by_batch() -> None:
    data = Pairs()
    batches = as_batches(MODULE, data, SIZE).epoch(0)
    before = data.read
    next(batches)
    assert data.read - before == SIZE
    assert before <= 1  # to see what it has


def test_what_items_are_may_not_be_told() -> None:
    with pytest.raises(TypeError, match="gives samples one by one, and batches are needed"):
        drawn(MODULE, iter(FORMS["a list of pairs"]))
    untold = SCALARS.cut(["x"])  # of which no shape is stated
    with pytest.raises(TypeError, match="Pairs of 14 has samples or batches cannot be told from"):
        drawn(untold, Pairs())
    with pytest.raises(TypeError, match="samples have different names: 'x', 'y', and 'x', 'z'"):
        drawn(MODULE, [{"x": X[0], "y": 0}, {"x": X[1], "z": 0}])


# Names and axes


def test_names_of_the_data_are_renamed() -> None:
    rename = {"pixel_values": "x"}
    samples = [{"pixel_values": x, "label": y} for x, y in zip(X, Y, strict=True)]
    for data in (
        {"pixel_values": X, "label": Y},
        ({"pixel_values": X}, Y),
        samples,
        [{"pixel_values": x, "label": y} for x, y in pairs()],
    ):
        same(drawn(MODULE, data, rename=rename), ARRAYS)
    with pytest.raises(TypeError, match="rename: 'x' is in the data, beside 'pixel_values'"):
        drawn(MODULE, {"x": X, "pixel_values": X, "y": Y}, rename=rename)
    module = onnxla.fit(
        MODULE, samples, "cross_entropy", rename=rename, shuffle=False, progress=False
    ).module
    measured = onnxla.evaluate(module, samples, "cross_entropy", rename=rename, batch_size=5)
    assert measured == pytest.approx(onnxla.evaluate(module, (X, Y), "cross_entropy"), rel=1e-6)


def test_the_samples_axis_may_be_another() -> None:
    h0 = normal(1, COUNT, 4)
    axis = {"h0": 1}
    found = drawn(RECURRENT, ({"x": X, "h0": h0}, Y), batch_axis=axis)
    assert [inputs["h0"].shape for inputs, _ in found] == [(1, 4, 4)] * 3 + [(1, 2, 4)]
    for (inputs, labels), start in zip(found, range(0, COUNT, SIZE), strict=True):
        np.testing.assert_array_equal(inputs["h0"], h0[:, start : start + SIZE])
        np.testing.assert_array_equal(labels, Y[start : start + SIZE])
    samples = [{"x": x, "h0": h0[:, i], "y": y} for i, (x, y) in enumerate(zip(X, Y, strict=True))]
    same(drawn(RECURRENT, samples, batch_axis=axis), found)
    same(drawn(RECURRENT, found, batch_axis=axis), found)  # batches are as the model takes them
    options: dict[str, Any] = {"outputs": "z", "batch_axis": axis}
    measured = onnxla.evaluate(RECURRENT, ({"x": X, "h0": h0}, Y), "cross_entropy", **options)
    parts = onnxla.evaluate(RECURRENT, found, "cross_entropy", **options)
    assert measured == pytest.approx(parts, rel=1e-6)  # each sample counts once
    with pytest.raises(ValueError, match=r"got x: 14, h0: 1, targets: 14; .* batch_axis=\{'name'"):
        drawn(RECURRENT, ({"x": X, "h0": h0}, Y))


def test_so_may_that_of_targets() -> None:
    axis = {"h0": 1, "h1": 1}
    h0, h1 = normal(1, COUNT, 4), normal(1, COUNT, 4)
    (_, targets), *_ = drawn(RECURRENT, {"x": X, "h0": h0, "h1": h1}, batch_axis=axis)
    np.testing.assert_array_equal(targets, h1[:, :SIZE])
    (_, targets), *_ = drawn(RECURRENT, {"x": X, "h0": h0, "h1": h1, "y": Y}, batch_axis=axis)
    np.testing.assert_array_equal(targets["h1"], h1[:, :SIZE])
    np.testing.assert_array_equal(targets["y"], Y[:SIZE])
    (_, targets), *_ = drawn(
        RECURRENT, ({"x": X, "h0": h0}, h1), batch_axis={"h0": 1, "targets": 1}
    )
    np.testing.assert_array_equal(targets, h1[:, :SIZE])


# Lengths

LENGTHS = [3, 5, 9, 2, 7, 7, 20, 1, 17, 4, 6, 8]
IDS = [RNG.integers(1, 9, length).tolist() for length in LENGTHS]
TOKENS = [
    {"ids": ids, "attention_mask": [1] * len(ids), "labels": [i % 5 for i in ids]} for ids in IDS
]
TOGETHER = {name: [sample[name] for sample in TOKENS] for name in TOKENS[0]}


def masked(logits: Any, labels: Any) -> Any:
    """Cross entropy without what is padded."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    return jnp.sum(losses * (labels >= 0)) / jnp.sum(labels >= 0)


@pytest.mark.parametrize("data", [TOKENS, TOGETHER], ids=["samples", "lists"])
@pytest.mark.parametrize("bucket", [None, {"seq": 8}], ids=["longest", "bucket"])
def test_sequences_are_padded(data: Any, bucket: dict[str, int] | None) -> None:
    found = drawn(TAGGER, data, bucket=bucket)
    assert [i["ids"].shape[1] for i, _ in found] == ([16, 24, 24] if bucket else [9, 20, 17])
    rows = itertools.chain.from_iterable(
        zip(inputs["ids"], inputs["attention_mask"], labels, strict=True)
        for inputs, labels in found
    )
    for (ids, mask, labels), sample in zip(rows, TOKENS, strict=True):
        length = len(sample["ids"])
        np.testing.assert_array_equal(ids[:length], sample["ids"])
        np.testing.assert_array_equal(labels[:length], sample["labels"])
        assert not ids[length:].any()
        np.testing.assert_array_equal(mask, np.arange(len(mask)) < length)
        assert (labels[length:] == -100).all()
        assert labels.dtype == ids.dtype == np.int64


def test_batches_are_padded_too() -> None:
    batches = drawn(TAGGER, TOKENS)
    same(drawn(TAGGER, batches, bucket={"seq": 8}), drawn(TAGGER, TOKENS, bucket={"seq": 8}))
    same(drawn(TAGGER, batches, bucket={"seq": 1}), batches)


def test_what_targets_have_of_a_length() -> None:
    ids = {"ids": np.ones((4, 6), np.int64), "attention_mask": np.ones((4, 6), np.int64)}
    read = partial(drawn, TAGGER, bucket={"seq": 4})
    ((_, labels),) = read((ids, np.zeros(4, np.int64)))  # of whole samples
    assert labels.shape == (4,)
    ((_, labels),) = read((ids, np.zeros((4, 3), np.float32)))
    assert labels.shape == (4, 3)
    ((_, found),) = read((ids, np.ones((4, 6, 2), np.float32)))
    np.testing.assert_array_equal(found.targets.sum(2), [[2] * 6 + [0] * 2] * 4)
    np.testing.assert_array_equal(found.weights, [[1] * 6 + [0] * 2] * 4)
    ((_, found),) = read((ids, np.ones((4, 6)), np.arange(4)))  # weights of samples
    np.testing.assert_array_equal(found.weights, [[i] * 6 + [0] * 2 for i in range(4)])
    ((_, found),) = read((ids, np.ones((4, 6, 2)), np.ones((4, 6))))  # and of places
    assert found.weights.tolist() == [[1] * 6 + [0] * 2] * 4
    with pytest.raises(ValueError, match=r"inputs differ in the size of 'seq': \[5, 6\]"):
        read(({**ids, "attention_mask": np.ones((4, 5), np.int64)}, np.zeros(4, np.int64)))
    ragged = [{"ids": [1] * n, "attention_mask": [1] * n, "y": [0.5] * n} for n in (2, 3)]
    ((_, found),) = drawn(TAGGER, ragged)
    assert found.targets.tolist() == [[0.5, 0.5, 0], [0.5] * 3]
    assert found.weights.tolist() == [[1, 1, 0], [1] * 3]
    two = [{**sample, "z": sample["y"] + [0.5]} for sample in ragged]
    with pytest.raises(TypeError, match="differ in their lengths, or in the axes that would be"):
        drawn(TAGGER, two)


def test_padding_changes_no_loss_where_the_loss_ignores_it() -> None:
    alone = [
        onnxla.evaluate(TAGGER, [sample], masked)["loss"] * len(sample["ids"]) for sample in TOKENS
    ]
    for bucket in (None, {"seq": 16}):
        found = onnxla.evaluate(TAGGER, TOKENS, masked, batch_size=12, bucket=bucket)
        assert found["loss"] == pytest.approx(sum(alone) / sum(LENGTHS), rel=1e-5)


NUMBERS = [{**sample, "labels": normal(len(sample["ids"]), 5)} for sample in TOKENS]


@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "weighed"])
@pytest.mark.parametrize("loss", ["mse", "huber", "binary_cross_entropy"])
def test_padding_weighs_nothing_in_losses_of_numbers(loss: str, weighed: bool) -> None:
    weights = np.linspace(0.5, 2, len(NUMBERS))

    def data(rows: slice) -> Any:
        ids = {n: [sample[n] for sample in NUMBERS[rows]] for n in ("ids", "attention_mask")}
        targets = [sample["labels"] for sample in NUMBERS[rows]]
        return (ids, targets, weights[rows]) if weighed else (ids, targets)

    lengths = np.array(LENGTHS) * (weights if weighed else 1)
    alone = [
        onnxla.evaluate(TAGGER, data(slice(i, i + 1)), loss)["loss"] for i in range(len(NUMBERS))
    ]
    expected = (alone * lengths).sum() / lengths.sum()
    for bucket in (None, {"seq": 16}):
        found = onnxla.evaluate(TAGGER, data(slice(None)), loss, batch_size=5, bucket=bucket)
        assert found["loss"] == pytest.approx(expected, rel=1e-5)
        options: dict[str, Any] = {"optimizer": optax.sgd(0.0), "progress": False}
        everything = onnxla.fit(
            TAGGER, data(slice(None)), loss, batch_size=12, bucket=bucket, **options
        )
        assert everything.history.loss[0] == pytest.approx(expected, rel=1e-5)


def test_notes_of_lengths() -> None:
    fit = partial(onnxla.fit, TAGGER, TOKENS, masked, batch_size=2, progress=False)
    (note,) = fit(shuffle=False).history.notes
    start, end = "batches had 6 shapes: 6 compiles, ", " s; bucket={'seq': 16} would make fewer"
    assert note.startswith(start)
    assert note.endswith(end)
    assert fit(shuffle=False, bucket={"seq": 16}).history.notes == []
    blind = onnxla.load(
        make(
            header() + " m (int64[N, seq] ids) => (float[N, seq, 4] z) { z = Gather (t, ids) }",
            t=normal(9, 4),
        )
    )
    samples = [{"ids": s["ids"], "labels": [i % 4 for i in s["ids"]]} for s in TOKENS]
    history = onnxla.fit(
        blind, samples, masked, train="t", bucket={"seq": 32}, progress=False
    ).history
    assert any(
        "no input of the model is named as a mask: it sees the padding" in note
        for note in history.notes
    )


# Where a run goes on


def runs(data: Callable[[], Any], module: onnxla.Module, folder: Path, **options: Any) -> None:
    """A run that stops within an epoch and goes on is the run that does not."""
    fit = partial(onnxla.fit, module, optimizer=optax.adam(0.1), progress=False, **options)
    whole = fit(data(), steps=7)
    for steps in (2, 5, 7):
        found = fit(data(), steps=steps, checkpoint=folder)
    assert found.history.steps == whole.history.steps
    assert len(found.history.loss) == 7
    for name, value in whole.module.params.items():
        np.testing.assert_array_equal(found.module.params[name], value)


@pytest.mark.parametrize(
    ("data", "module"),
    [
        (Pairs, MODULE),
        (lambda: [(x, y) for x, y in zip(X, Y, strict=True)], MODULE),
    ],
    ids=["dataset", "samples"],
)
def test_a_run_on_samples_goes_on_bit_for_bit(
    data: Callable[[], Any], module: onnxla.Module, tmp_path: Path
) -> None:
    runs(data, module, tmp_path, loss="cross_entropy", batch_size=SIZE)


def test_so_does_one_with_buckets_and_only_with_these(tmp_path: Path) -> None:
    options: dict[str, Any] = {"loss": masked, "batch_size": 3}
    runs(lambda: TOKENS, TAGGER, tmp_path, bucket={"seq": 8}, **options)
    fit = partial(onnxla.fit, TAGGER, TOKENS, optimizer=optax.adam(0.1), progress=False, **options)
    for bucket in ({"seq": 16}, None):
        with pytest.raises(onnxla.CheckpointError, match=r"bucket.* was "):
            fit(steps=8, checkpoint=tmp_path, bucket=bucket)


def test_a_dataset_is_known_by_a_few_samples(tmp_path: Path) -> None:
    fit = partial(
        onnxla.fit, MODULE, loss="cross_entropy", optimizer=optax.sgd(0.1), progress=False
    )
    fit(data=Pairs(), epochs=1, checkpoint=tmp_path)
    with pytest.raises(onnxla.CheckpointError, match="the same shapes and other contents"):
        fit(data=Pairs(X[::-1]), epochs=2, checkpoint=tmp_path)
    with pytest.raises(onnxla.CheckpointError, match=r"data\.samples was 14, is 13"):
        fit(data=Pairs(X[:-1]), epochs=2, checkpoint=tmp_path)


def test_augmented_samples_go_on_with_a_note(tmp_path: Path) -> None:
    fit = partial(
        onnxla.fit, MODULE, loss="cross_entropy", optimizer=optax.sgd(0.1), progress=False
    )
    fit(data=Augmented(), epochs=1, checkpoint=tmp_path)
    history = fit(data=Augmented(), epochs=2, checkpoint=tmp_path).history
    assert any("gives other samples each time that they are read" in n for n in history.notes)


# The packages themselves


def split_alike(module: onnxla.Module, data: Any, expected: Any, **options: Any) -> None:
    """Asserts that a share held out of some data is that held out of other data."""
    parts = []
    for each in (data, expected):
        reading = make_reading(module, **options)
        both = hold_out(as_batches(module, each, SIZE, seed=1, reading=reading), 0.3)
        parts.append([[*part.epoch(0)] for part in both])
    for found, wanted in zip(*parts, strict=True):
        same(found, wanted)


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_data_frames(package: str) -> None:
    library = pytest.importorskip(package)
    columns = {name: X[:, i] for i, name in enumerate(COLUMNS)}
    frame = library.DataFrame({**columns, "kind": Y})
    for data in ((frame[COLUMNS], frame["kind"]), [frame[COLUMNS], frame["kind"]]):
        same(drawn(MODULE, data), ARRAYS)
        split_alike(MODULE, data, (X, Y))
    whole = library.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "kind": [0, 1, 2]})
    ((inputs, labels),) = drawn(SCALARS, whole)
    assert inputs["a"].dtype == np.float32  # integers are numbers to this input, too
    np.testing.assert_array_equal(inputs["a"], [[1], [2], [3]])
    np.testing.assert_array_equal(inputs["b"], [[0.5], [1.5], [2.5]])
    np.testing.assert_array_equal(labels, [0, 1, 2])
    ((inputs, both),) = drawn(SCALARS, (whole[["a", "b"]], whole[["b", "kind"]]))
    np.testing.assert_array_equal(both, [[0.5, 0], [1.5, 1], [2.5, 2]])
    renamed = whole.rename({"b": "c"}) if package == "polars" else whole.rename(columns={"b": "c"})
    ((inputs, _),) = drawn(SCALARS, renamed, rename={"c": "b"})
    np.testing.assert_array_equal(inputs["b"], [[0.5], [1.5], [2.5]])
    lists = library.DataFrame(TOGETHER)
    split_alike(TAGGER, lists, TOKENS)
    same(drawn(TAGGER, lists, bucket={"seq": 8}), drawn(TAGGER, TOKENS, bucket={"seq": 8}))
    with pytest.raises(TypeError, match=r"is named as an input \(x\): write \(frame\[features\], "):
        drawn(MODULE, frame)
    text = library.DataFrame({"a": ["u", "v"], "b": [1.0, 2.0]})
    with pytest.raises(TypeError, match="columns 'a' of the DataFrame are no numbers: leave them"):
        drawn(MODULE, (text, library.Series([0, 1])))
    with pytest.raises(TypeError, match="targets are text"):
        drawn(MODULE, (frame[COLUMNS], library.Series(["u", "v"] * 7)))


def test_hugging_face_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns = datasets.Dataset.from_dict({"pixel_values": X, "label": Y})
    for data in (columns, columns.with_format("numpy"), columns.select(range(COUNT))):
        found = drawn(MODULE, data, rename={"pixel_values": "x"})
        same([({"x": i["x"].astype(np.float32)}, t) for i, t in found], ARRAYS)
    words = datasets.Dataset.from_list(TOKENS)
    for data in (words, words.with_format("numpy")):
        same(drawn(TAGGER, data, bucket={"seq": 8}), drawn(TAGGER, TOKENS, bucket={"seq": 8}))
        split_alike(TAGGER, data, TOKENS, bucket={"seq": 8})
    text = words.add_column("text", ["a text"] * len(words))
    with pytest.raises(TypeError, match=r"'text' of the dataset are text.*remove_columns\(\['text"):
        drawn(TAGGER, text)
    with pytest.raises(TypeError, match=r"is several datasets: pass one of data\['train'\], data"):
        drawn(TAGGER, datasets.DatasetDict({"train": words, "test": words}))
    with pytest.raises(TypeError, match="gives samples one by one"):
        drawn(TAGGER, words.to_iterable_dataset())
    batched = words.to_iterable_dataset().batch(SIZE)
    same(drawn(TAGGER, batched), drawn(TAGGER, TOKENS))
    runs(lambda: words, TAGGER, tmp_path, loss=masked, batch_size=3, bucket={"seq": 8})


def test_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x, y = torch.from_numpy(X), torch.from_numpy(Y)

    class Dicts(torch.utils.data.Dataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> Any:
            return {"x": x[index], "label": y[index]}

    tensors = torch.utils.data.TensorDataset(x, y)
    loader = partial(torch.utils.data.DataLoader, batch_size=SIZE)
    for data in ((x, y), [x, y], tensors, Dicts(), loader(tensors), loader(Dicts())):
        same(drawn(MODULE, data), ARRAYS)
    split_alike(MODULE, tensors, (X, Y))
    with pytest.raises(TypeError, match=r"or its \.dataset instead of it"):
        hold_out(as_batches(MODULE, loader(tensors), SIZE), 0.3)
    ((inputs, _), *_) = drawn(MODULE, [(x[:SIZE].requires_grad_(), y[:SIZE])])
    assert np.shares_memory(inputs["x"], X)  # no copy
    nested = [({"x": x[:SIZE]}, {"a": y[:SIZE], "b": {"c": x[:SIZE]}})]
    ((_, targets),) = drawn(MODULE, nested)
    np.testing.assert_array_equal(targets["b"]["c"], X[:SIZE])
    ((inputs, _),) = drawn(MODULE, [(x[:SIZE].bfloat16(), y[:SIZE])])
    np.testing.assert_array_equal(inputs["x"], x[:SIZE].bfloat16().float())
    runs(lambda: Dicts(), MODULE, tmp_path / "dataset", loss="cross_entropy", batch_size=SIZE)

    class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[Any]:
            return iter(tensors)

        def __len__(self) -> int:
            return COUNT

    with pytest.raises(TypeError, match="gives samples one by one"):
        drawn(MODULE, Stream())
    same(drawn(MODULE, loader(Stream())), ARRAYS)


def test_tensorflow() -> None:
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(({"x": X}, Y))
    same(drawn(MODULE, data.batch(SIZE)), ARRAYS)
    same(drawn(MODULE, data.map(lambda inputs, y: {**inputs, "y": y}).batch(SIZE)), ARRAYS)
    same(drawn(MODULE, (tf.constant(X), tf.constant(Y))), ARRAYS)
    assert as_batches(MODULE, data.batch(SIZE), 1).length == 4
    words = tf.data.Dataset.from_tensor_slices({"x": [["a", "b"], ["c", "d"]], "y": [0, 1]}).batch(
        2
    )
    ((inputs, _),) = drawn(MODULE, words)
    assert inputs["x"].tolist() == [["a", "b"], ["c", "d"]]  # and no bytes
    with pytest.raises(TypeError, match=r"gives samples one by one, .* data\.batch\(32\)"):
        drawn(MODULE, data)
    fit = partial(
        onnxla.fit, MODULE, loss="cross_entropy", optimizer=optax.sgd(0.1), progress=False
    )
    endless = fit(data=data.batch(SIZE).repeat(), steps=6)
    assert (
        endless.history.loss
        == fit(data=(X, Y), steps=6, batch_size=SIZE, shuffle=False).history.loss
    )


def test_grain(tmp_path: Path) -> None:
    grain = pytest.importorskip("grain")
    source = grain.MapDataset.source(list(zip(X, Y, strict=True)))
    for data in (
        source,
        source.batch(SIZE),
        source.to_iter_dataset().batch(SIZE),
        source.map(lambda pair: {"x": pair[0], "y": pair[1]}),
    ):
        same(drawn(MODULE, data), ARRAYS)
    assert isinstance(as_batches(MODULE, source, SIZE), ArrayBatches)
    with pytest.raises(TypeError, match="gives samples one by one"):
        drawn(MODULE, source.to_iter_dataset())
    loader = grain.DataLoader(
        data_source=list(zip(X, Y, strict=True)),
        sampler=grain.samplers.SequentialSampler(COUNT, grain.sharding.NoSharding()),
        operations=[grain.transforms.Batch(SIZE)],
    )
    same(drawn(MODULE, loader), ARRAYS)
    shuffled = source.seed(1).shuffle().batch(SIZE)
    runs(lambda: shuffled, MODULE, tmp_path, loss="cross_entropy")
