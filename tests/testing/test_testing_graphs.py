"""Graphs that hang together, are valid, and mean the same to onnxla and the reference evaluator."""

from collections import Counter
from collections.abc import Iterator

import onnx
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from onnxla.testing import check
from onnxla.testing.case import Case
from onnxla.testing.random_graphs import SUBGRAPHS, graph_operators, graphs

SETTINGS = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield from every_node(attribute.g)


def nodes_of(case: Case) -> list[onnx.NodeProto]:
    return list(every_node(case.proto.graph))


def uses(case: Case) -> Counter[str]:
    return Counter(name for node in nodes_of(case) for name in node.input if name)


def is_valid(case: Case) -> bool:
    try:
        onnx.checker.check_model(case.model, full_check=True)
        onnx.shape_inference.infer_shapes(case.proto, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def test_graphs_are_valid_and_diverse() -> None:
    drawn: list[Case] = []
    generated = settings(SETTINGS, max_examples=200, phases=[Phase.generate])
    generated(given(graphs())(lambda case: drawn.append(case)))()

    def share(has) -> float:
        return sum(map(bool, map(has, drawn))) / len(drawn)

    def made(case: Case) -> set[str]:
        return {name for node in nodes_of(case) for name in node.output}

    assert share(is_valid) >= 0.95
    assert share(lambda case: len(nodes_of(case)) >= 3) >= 0.5
    assert share(lambda case: any(node.op_type in SUBGRAPHS for node in nodes_of(case))) >= 0.1
    assert share(lambda case: max(uses(case).values(), default=0) > 1) >= 0.2
    assert share(lambda case: made(case) & set(uses(case))) >= 0.3
    assert share(lambda case: len(case.proto.graph.output) > 1) >= 0.3
    assert share(lambda case: case.proto.graph.initializer) >= 0.2
    assert share(lambda case: {o.name for o in case.proto.graph.output} & set(uses(case))) >= 0.05
    assert len({node.op_type for case in drawn for node in nodes_of(case)}) >= 60
    for case in drawn:
        # No node but for its use, and none for nothing.
        outputs = {value.name for value in case.proto.graph.output}
        for node in case.proto.graph.node:
            assert {*node.output} & (outputs | set(uses(case)) | captured(case))
        identities = sum(node.op_type == "Identity" for node in nodes_of(case))
        assert len(nodes_of(case)) - identities <= 6


def captured(case: Case) -> set[str]:
    """Names that subgraphs return."""
    return {
        value.name
        for node in nodes_of(case)
        for attribute in node.attribute
        if attribute.type == attribute.GRAPH
        for value in attribute.g.output
    }


@settings(SETTINGS, max_examples=60)
@given(graphs())
def test_onnxla_agrees_with_the_reference_evaluator(case: Case) -> None:
    check(case, "onnxla", "reference")


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (lambda case: "Mul" in [node.op_type for node in nodes_of(case)], 1),
        (lambda case: len(nodes_of(case)) >= 2, 2),
        (lambda case: "If" in [node.op_type for node in nodes_of(case)], 3),
        (lambda case: "Loop" in [node.op_type for node in nodes_of(case)], 3),
    ],
    ids=["Mul", "two nodes", "If", "Loop"],
)
def test_graphs_shrink(wanted, count) -> None:
    strategy = graphs(3, ("Add", "Mul", "Neg", *SUBGRAPHS))
    simplest = find(strategy, wanted, settings=settings(SETTINGS, max_examples=500))
    assert len(nodes_of(simplest)) == count
    assert sum(value.size for value in simplest.inputs.values()) <= 8


def test_operators_may_be_chosen() -> None:
    @settings(SETTINGS, max_examples=20)
    @given(graphs(3, ["Sub", "If"]))
    def test(case: Case) -> None:
        assert {node.op_type for node in nodes_of(case)} <= {"Sub", "If", "Identity"}

    test()
    with pytest.raises(KeyError, match=r"no strategy for the operator ai\.onnx\.Nothing"):
        graphs(ops=["Nothing"])


def test_default_operators() -> None:
    names = set(graph_operators())
    assert {"Add", "Conv"} <= names
    assert not names & {"RandomNormal", "StringConcat", "If", "SequenceAt", "Upsample", "Dropout"}
