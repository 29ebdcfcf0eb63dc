"""Drawing files that are broken in one way or two."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from onnx import ModelProto

from onnxla.testing.malformed.names import unmade_input
from onnxla.testing.malformed.registry import BYTES_EDITS, EDITS, NotHere, ways
from onnxla.testing.random_graphs import graphs

OPERATORS = ("Add", "Mul", "Sub", "Conv", "If", "Loop")


@dataclass(frozen=True)
class Malformed:
    """A broken file.

    For example:

        @given(onnxla.testing.malformed_models())
        @settings(max_examples=2, deadline=None)
        def test_names(broken):
            print(broken.how, len(broken.data))

        test_names()

    Attributes:
        data: Its bytes.
        how: What is wrong with it.
    """

    data: bytes
    how: str


def malformed_models(how: str | None = None) -> st.SearchStrategy[Malformed]:
    """Broken files, each of a small valid model; `how` says what is wrong.

    For example:

        @given(onnxla.testing.malformed_models())
        @settings(max_examples=2, deadline=None)
        def test_loading(broken):
            try:
                onnxla.load(broken.data)
            except onnxla.OnnxlaError:
                pass  # nothing else is raised

        test_loading()

    Args:
        how: One of `ways()`: break files in this way alone.

    Raises:
        ValueError: There is no such way.
    """
    if how is not None and how not in ways():
        raise ValueError(f"no way to break a file is called {how!r}")
    return broken_files(how)


@st.composite
def broken_files(draw: st.DrawFn, how: str | None) -> Malformed:
    """A small model, broken in one way or in two."""
    model = draw(graphs(3, OPERATORS)).proto
    names = [how or draw(st.sampled_from(ways()))]
    if how is None and draw(st.integers(0, 5)) == 5:
        names.append(draw(st.sampled_from(ways())))
    done = []
    for name in names:
        if edit := EDITS.get(name):
            broken = ModelProto()
            broken.CopyFrom(model)
            try:
                edit(draw, broken)
            except NotHere:
                continue
            model = broken
            done.append(name)
    if not done and not any(name in BYTES_EDITS for name in names):
        unmade_input(draw, model)
        done.append("a node reads a value that nothing makes")
    data = model.SerializeToString()
    for name in names:
        if bytes_edit := BYTES_EDITS.get(name):
            data = bytes_edit(draw, data)
            done.append(name)
    return Malformed(data, ", and ".join(done))
