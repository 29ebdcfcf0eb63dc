"""Small graphs: operators that feed each other, with subgraphs, as cases for two runtimes.

A node is drawn by its operator's strategy, which asks for arrays. Where it takes any numbers of a
dtype and shape, it is given a value that the graph has already. Every node is evaluated at once, by
the reference evaluator, three times: as it is, and twice with small errors in all that was computed
before. Where the errors grow, as in a difference of nearly equal numbers, or where they change an
integer, as in Floor of a number that is just one, two runtimes may rightly differ; then the node
gets copies of the computed values as inputs. So the numbers of a graph stay comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxla.testing.case import Case
from onnxla.testing.operator_cases import operators
from onnxla.testing.random_graphs.drawn_graph import DrawnGraph
from onnxla.testing.random_graphs.vocabulary import OPSET, SUBGRAPHS, graph_operators, numbers
from onnxla.testing.wanted import dtypes_of

__all__ = ["OPSET", "SUBGRAPHS", "graph_operators", "graphs"]

# Scan had a batch before.
FIRST_OPSET = 9


def graphs(
    max_nodes: int = 6,
    ops: Iterable[str] | None = None,
    opset: int | tuple[int, int] = OPSET,
    dtypes: Iterable[Any] | None = None,
) -> st.SearchStrategy[Case]:
    """Directed acyclic graphs of ONNX's own operators.

    Values are shared; some are both used and output; branches and loops use values of the graph
    around them; some nodes are in functions of the model. Some graphs are broad, others a chain. A
    node that meets a known fault of the reference evaluator, of ONNX Runtime or of shape inference,
    or that the reference evaluator cannot run, does not occur.

    For example:

        @given(onnxla.testing.graphs(max_nodes=3))
        @settings(max_examples=2, deadline=None)
        def test_graphs(case):
            onnxla.testing.check(case, "onnxla", "reference")

        test_graphs()

    Args:
        max_nodes: How many nodes there are at most, those of subgraphs and functions included, but
            neither calls of functions nor an Identity by which a subgraph returns a value.
        ops: Names of the operators; by default those of `graph_operators`, If, Loop and Scan.
        opset: The opset version, or the first and last of a range; by default the newest one.
        dtypes: Draw operands of these dtypes, where an operator allows one of them.

    Raises:
        KeyError: An operator has no strategy.
        ValueError: The opset is older than 9, or newer than the `onnx` package.
    """
    first, last = opset if isinstance(opset, tuple) else (opset, opset)
    if not FIRST_OPSET <= first <= last <= OPSET:
        raise ValueError(f"opset must be from {FIRST_OPSET} to {OPSET}, got {opset}")
    names = None if ops is None else tuple(ops)
    for name in names or ():
        if name not in SUBGRAPHS and ("", name) not in operators():
            raise KeyError(f"no strategy for the operator ai.onnx.{name}")
    return drawn_graphs(max_nodes, names, range(last, first - 1, -1), dtypes_of(dtypes))


@st.composite
def drawn_graphs(
    draw: st.DrawFn,
    max_nodes: int,
    ops: Sequence[str] | None,
    opsets: Sequence[int],
    dtypes: Sequence[np.dtype[Any]] | None,
) -> Case:
    """A graph of some nodes, as a case."""
    state = 0
    while True:
        opset = draw(st.sampled_from(opsets))
        names = (*graph_operators(opset), *SUBGRAPHS) if ops is None else ops
        graph = DrawnGraph(draw, max_nodes, names, opset, dtypes or numbers(opset), state)
        # Hypothesis draws the first of a choice far more often than others, so there is one choice
        # of how many nodes, and none before each whether it is the last.
        count = min(max_nodes, 1 + graph.integer(0, 3 * max_nodes))
        graph.add_nodes(graph.main, count)
        if (case := graph.case()) is not None:
            return case
        state = graph.state
