"""Graphs that hang together, are valid, and mean the same to onnxla and the reference evaluator."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from onnx.reference import ReferenceEvaluator

from onnxla.testing import check
from onnxla.testing.case import Case
from onnxla.testing.findings import operators_of
from onnxla.testing.fuzzing import fuzz_cases
from onnxla.testing.random_graphs import SUBGRAPHS, graph_operators, graphs

SETTINGS = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def every_node(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield from every_node(attribute.g)


def nodes_of(case: Case) -> list[onnx.NodeProto]:
    """Nodes of the graph, its subgraphs and its functions, without calls of these."""
    graphs = [case.proto.graph, *case.proto.functions]
    return [node for graph in graphs for node in every_node(graph) if node.domain != "local"]


def uses(case: Case) -> Counter[str]:
    """How often nodes read each value of the main graph."""
    return Counter(name for node in every_node(case.proto.graph) for name in node.input if name)


def made(case: Case) -> set[str]:
    return {name for node in every_node(case.proto.graph) for name in node.output}


def fans_out(case: Case) -> bool:
    """Whether some node's value is used twice."""
    return any(count > 1 and name in made(case) for name, count in uses(case).items())


def depth(case: Case) -> int:
    """How many nodes of the main graph there are on its longest way."""
    depths: dict[str, int] = {}
    for node in case.proto.graph.node:
        inner = [a.g for a in node.attribute if a.type == a.GRAPH]
        read = {
            *node.input,
            *(n for graph in inner for other in every_node(graph) for n in other.input),
        }
        found = 1 + max((depths.get(name, 0) for name in read), default=0)
        depths |= dict.fromkeys(node.output, found)
    return max(depths.values())


def is_valid(case: Case) -> bool:
    try:
        onnx.checker.check_model(case.model, full_check=True)
        onnx.shape_inference.infer_shapes(case.proto, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def test_graphs_are_valid_and_diverse() -> None:
    drawn: list[Case] = []
    generated = settings(SETTINGS, max_examples=300, phases=[Phase.generate])
    generated(given(graphs())(lambda case: drawn.append(case)))()

    def share(has) -> float:
        return sum(map(bool, map(has, drawn))) / len(drawn)

    assert sum(map(is_valid, drawn[:100])) >= 95
    assert len({(case.model, repr(case.inputs)) for case in drawn}) >= 0.95 * len(drawn)
    assert len({case.model for case in drawn}) >= 0.9 * len(drawn)
    assert share(lambda case: case.proto.functions) >= 0.15
    functions = [function for case in drawn for function in case.proto.functions]
    assert any(function.attribute for function in functions)
    for name in SUBGRAPHS:
        assert share(lambda case: name in [node.op_type for node in nodes_of(case)]) >= 0.02  # noqa: B023
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


@pytest.mark.more
def test_deep_graphs() -> None:
    searched = settings(SETTINGS, max_examples=300, phases=[Phase.generate])
    assert depth(find(graphs(60), lambda case: depth(case) >= 30, settings=searched)) >= 30


def test_large_graphs() -> None:
    """Values are used again, and subgraphs use those around them."""
    drawn: list[Case] = []
    generated = settings(SETTINGS, max_examples=20, phases=[Phase.generate])
    generated(given(graphs(60))(lambda case: drawn.append(case)))()
    large = [case for case in drawn if len(nodes_of(case)) >= 10]
    assert len(large) >= 10
    assert all(map(is_valid, drawn))
    assert sum(map(fans_out, large)) >= len(large) / 2
    assert max(len(nodes_of(case)) for case in drawn) >= 50
    subgraphs = [
        attribute.g
        for case in drawn
        for node in nodes_of(case)
        for attribute in node.attribute
        if attribute.type == attribute.GRAPH
    ]
    assert any(read_outside(graph) for graph in subgraphs)


def read_outside(graph: onnx.GraphProto) -> set[str]:
    """Values around a subgraph that its nodes read."""
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own |= {name for node in every_node(graph) for name in node.output}
    return {name for node in every_node(graph) for name in node.input if name} - own


@settings(SETTINGS, max_examples=12)
@given(graphs(opset=(9, 17), dtypes=["float32"]))
def test_graphs_of_an_opset_and_a_dtype(case: Case) -> None:
    assert is_valid(case)
    assert 9 <= case.proto.opset_import[0].version <= 17
    assert not {value.dtype.name for value in case.inputs.values()} & {"float16", "float64"}
    check(case, "onnxla", "reference")


def captured(case: Case) -> set[str]:
    """Names that subgraphs return."""
    return {
        value.name
        for node in nodes_of(case)
        for attribute in node.attribute
        if attribute.type == attribute.GRAPH
        for value in attribute.g.output
    }


@settings(SETTINGS, max_examples=25)
@given(graphs())
def test_onnxla_agrees_with_the_reference_evaluator(case: Case) -> None:
    check(case, "onnxla", "reference")


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("wanted", "most"),
    [
        (lambda case: "Mul" in [node.op_type for node in nodes_of(case)], 1),
        (lambda case: len(nodes_of(case)) >= 2, 2),
        (lambda case: "If" in [node.op_type for node in nodes_of(case)], 4),
        (lambda case: "Loop" in [node.op_type for node in nodes_of(case)], 3),
        (lambda case: "Scan" in [node.op_type for node in nodes_of(case)], 2),
    ],
    ids=["Mul", "two nodes", "If", "Loop", "Scan"],
)
def test_graphs_shrink(wanted, most) -> None:
    strategy = graphs(3, ("Add", "Mul", "Neg", *SUBGRAPHS))
    simplest = find(strategy, wanted, settings=settings(SETTINGS, max_examples=2000))
    assert len(nodes_of(simplest)) <= most
    assert sum(value.size for value in simplest.inputs.values()) <= 8


def test_operators_may_be_chosen() -> None:
    @settings(SETTINGS, max_examples=20)
    @given(graphs(3, ["Sub", "If"]))
    def test(case: Case) -> None:
        assert {node.op_type for node in nodes_of(case)} <= {"Sub", "If", "Identity"}

    test()
    with pytest.raises(ValueError, match=r"opset must be from 9 to \d+, got \(7, 13\)"):
        graphs(opset=(7, 13))
    with pytest.raises(KeyError, match=r"no strategy for the operator ai\.onnx\.Nothing"):
        graphs(ops=["Nothing"])


class Leaking:
    """The reference, but for the default of LeakyRelu."""

    name = "leaking"

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        proto = onnx.load_from_string(model)
        for node in proto.graph.node:
            if node.op_type == "LeakyRelu" and not node.attribute:
                node.attribute.append(onnx.helper.make_attribute("alpha", 0.5))
        return list(ReferenceEvaluator(proto).run(None, inputs))


def test_a_fault_of_an_operator_is_found_in_graphs_of_a_later_opset() -> None:
    strategy = graphs(ops=["LeakyRelu"], dtypes=["float32"], opset=17)
    result = fuzz_cases(strategy, "graphs", Leaking(), "reference", examples=15)
    finding = next(each for each in result.findings if each.signature.outcome == "disagreed")
    assert finding.signature.operator == "graph"
    assert "LeakyRelu" in finding.signature.features
    assert sum(1 for _ in operators_of(finding.case.proto.graph)) <= 2


def test_default_operators() -> None:
    names = set(graph_operators())
    assert {"Add", "Conv"} <= names
    assert not names & {"RandomNormal", "StringConcat", "If", "SequenceAt", "Upsample", "Dropout"}
