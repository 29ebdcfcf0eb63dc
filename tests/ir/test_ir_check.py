"""Each kind of model that makes no sense is reported, by name."""

import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxla import ir


def node(inputs: str, outputs: str, op_type: str = "Op", **fields) -> ir.Node:
    return ir.Node(op_type, tuple(inputs.split()), tuple(outputs.split()), **fields)


def graph(*nodes: ir.Node, inputs: str = "x", outputs: str = "", weights: str = "") -> ir.Graph:
    return ir.Graph(
        nodes,
        tuple(map(ir.ValueInfo, inputs.split())),
        tuple(map(ir.ValueInfo, outputs.split())),
        tuple(ir.Tensor.of(name, np.zeros(1)) for name in weights.split()),
    )


def model(*nodes: ir.Node, functions=(), opsets=None, **fields) -> ir.Model:
    return ir.Model(graph(*nodes, **fields), opsets or {"": 20}, functions)


def function(name: str, *nodes: ir.Node, **fields) -> ir.Function:
    defaults = dict(
        domain="f", overload="", inputs=("a",), outputs=("b",), attributes=(), defaults={},
        opsets={"": 20},
    )  # fmt: skip
    return ir.Function(name=name, nodes=nodes, **(defaults | fields))


def branch(subgraph: ir.Graph, inputs: str = "x", outputs: str = "out") -> ir.Node:
    return node(inputs, outputs, "If", attributes={"then_branch": subgraph})


VALID = {
    "chain": model(node("x", "y"), node("y w", "z"), outputs="z", weights="w"),
    "no name for what is not given": ir.Model(
        graph(ir.Node("Op", ("x", "", "x"), ("", "y")), outputs="y"), {"": 20}
    ),
    "an input with a default": model(node("x", "y"), weights="x", outputs="y"),
    "an output that is an input": model(outputs="x"),
    "an output twice": model(outputs="x x"),
    "node names twice": model(node("x", "y", name="n"), node("x", "z", name="n")),
    "a subgraph uses outer names": model(
        branch(graph(node("x w", "y"), inputs="", outputs="y")), weights="w"
    ),
    "a subgraph returns an outer name": model(branch(graph(inputs="", outputs="x"))),
    "a subgraph defines an outer name again": model(
        node("x", "y"), branch(graph(node("x", "y"), inputs="", outputs="y"))
    ),
    "a subgraph's name is used again outside": model(
        branch(graph(node("x", "y"), inputs="", outputs="y")), node("x", "y")
    ),
    "a function": model(
        node("x", "y", "F", domain="f"), functions=(function("F", node("a", "b")),)
    ),
    "overloads": model(
        functions=(function("F", node("a", "b")), function("F", node("a", "b"), overload="2"))
    ),
    "a function without an import of its domain": model(
        node("x", "y", "F", domain="f"), functions=(function("F", node("a", "b")),)
    ),
    "a domain of ONNX Runtime": model(node("x", "y", domain="com.microsoft")),
    "a reference in a function": model(
        functions=(
            function("F", node("a", "b", attributes={"k": ir.AttributeReference("k")})),
        )
    ),
}  # fmt: skip

INVALID = {
    "input twice": (model(inputs="x x"), "input 'x' is defined 2 times"),
    "initializer twice": (model(weights="w w"), "initializer 'w' is defined 2 times"),
    "output of two nodes": (
        model(node("x", "y"), node("x", "y")),
        "node Op -> y: its output 'y' is defined already",
    ),
    "output of one node twice": (model(node("x", "y y")), "output 'y' is defined already"),
    "node makes an input": (model(node("x", "x")), "output 'x' is defined already"),
    "node makes an initializer": (
        model(node("x", "w"), weights="w"),
        "output 'w' is defined already",
    ),
    "missing input": (
        model(node("x q", "y", name="n")),
        "node Op 'n' -> y: its input 'q' is made by no node, input or initializer",
    ),
    "missing input in a subgraph": (
        model(branch(graph(node("q", "y"), inputs="", outputs="y"))),
        "node If -> out, attribute 'then_branch': node Op -> y: its input 'q' is made by no node",
    ),
    "a subgraph's name outside": (
        model(branch(graph(node("x", "y"), inputs="", outputs="y")), node("y", "z")),
        "node Op -> z: its input 'y' is made by no node",
    ),
    "order": (
        model(node("y", "z"), node("x", "y")),
        "node Op -> z: its input 'y' is made later, by node Op -> y",
    ),
    "order in a subgraph": (
        model(branch(graph(node("y", "z"), inputs="", outputs="z")), node("x", "y")),
        "node Op -> z: its input 'y' is made later, by node Op -> y",
    ),
    "a name that the subgraph itself makes later": (
        model(node("x", "y"), branch(graph(node("y", "z"), node("x", "y"), inputs=""))),
        "its input 'y' is made later",
    ),
    "cycle": (
        model(node("x c", "a", "A"), node("a", "b", "B"), node("b", "c", "C")),
        "nodes form a cycle: A -> a => B -> b => C -> c => A -> a",
    ),
    "cycle of one": (model(node("y", "y")), "nodes form a cycle: Op -> y => Op -> y"),
    "cycle through a subgraph": (
        model(branch(graph(node("z", "y"), inputs="", outputs="y")), node("out", "z")),
        "nodes form a cycle: If -> out => Op -> z => If -> out",
    ),
    "output that nobody makes": (
        model(node("x", "y"), outputs="y z"),
        "output 'z' is made by no node, input or initializer",
    ),
    "output of a subgraph that nobody makes": (
        model(branch(graph(inputs="", outputs="z"))),
        "attribute 'then_branch': output 'z' is made by no node",
    ),
    "empty operator": (model(node("x", "y", "")), "empty operator name"),
    "empty input": (ir.Model(ir.Graph((), (ir.ValueInfo(""),)), {}), "an input has an empty name"),
    "empty output": (
        ir.Model(ir.Graph((), outputs=(ir.ValueInfo(""),)), {}),
        "an output has an empty name",
    ),
    "empty initializer": (
        ir.Model(ir.Graph((), initializers=(ir.Tensor.of("", np.zeros(1)),)), {}),
        "an initializer has an empty name",
    ),
    "empty attribute": (model(node("x", "y", attributes={"": 1})), "attribute has an empty name"),
    "no import": (
        model(node("x", "y", domain="my.domain")),
        "node my.domain.Op -> y: the model does not import an opset for its domain 'my.domain'",
    ),
    "no import in a function": (
        model(functions=(function("F", node("a", "b"), opsets={}),)),
        "function 'f.F' does not import an opset for its domain ''",
    ),
    "version 0": (model(opsets={"": 0}), "imports version 0 of operator domain ''"),
    "function twice": (
        model(functions=(function("F", node("a", "b")), function("F", node("a", "b")))),
        "function 'f.F' is defined twice",
    ),
    "function calls itself": (
        model(functions=(function("F", node("a", "b", "F", domain="f")),)),
        "functions call each other in a cycle: 'f.F' => 'f.F'",
    ),
    "functions call each other": (
        model(
            functions=(
                function("F", node("a", "b", "G", domain="f")),
                function("G", branch(graph(node("a", "c", "F", domain="f"), inputs="")),
                         node("a", "b")),
            )
        ),
        "functions call each other in a cycle: 'f.F' => 'f.G' => 'f.F'",
    ),
    "function uses names of the graph": (
        model(functions=(function("F", node("x", "b")),)),
        "function 'f.F': node Op -> b: its input 'x' is made by no node",
    ),
    "function input twice": (
        model(functions=(function("F", node("a", "b"), inputs=("a", "a")),)),
        "function 'f.F': input 'a' is defined 2 times",
    ),
    "function output that nobody makes": (
        model(functions=(function("F"),)),
        "function 'f.F': output 'b' is made by no node",
    ),
    "function attribute twice": (
        model(functions=(function("F", node("a", "b"), attributes=("k",), defaults={"k": 1}),)),
        "attribute 'k' is defined 2 times",
    ),
    "reference outside a function": (
        model(node("x", "y", attributes={"k": ir.AttributeReference("j")})),
        "attribute 'k' refers to an attribute 'j' of a function, but it is in none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALID)
def test_valid(name):
    assert ir.check(VALID[name]) == []
    ir.verify(VALID[name])


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name):
    bad, message = INVALID[name]
    assert any(message in problem for problem in ir.check(bad)), ir.check(bad)
    with pytest.raises(ir.ModelError) as error:
        ir.verify(bad)
    assert message in str(error.value)


# What only a file can have


def file_problems(change) -> list[str]:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    relu = helper.make_node("LeakyRelu", ["x"], ["y"], name="n", alpha=0.5)
    proto = helper.make_model(helper.make_graph([relu], "g", [x], [y]))
    change(proto)
    read = ir.read(proto)
    assert onnx.load_from_string(ir.write(read)) == proto
    return ir.check(read)


def test_attribute_twice():
    (problem,) = file_problems(
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.1))
    )
    assert problem == "node LeakyRelu 'n' -> y: attribute 'alpha' is given twice"


def test_attribute_of_another_type():
    (problem,) = file_problems(lambda m: m.graph.node[0].attribute.add(name="k", type=2, f=1.0))
    assert problem == "node LeakyRelu 'n' -> y: attribute 'k' has type INT, but a value in 'f'"


def test_metadata_twice():
    def change(model):
        model.metadata_props.add(key="k", value="1")
        model.metadata_props.add(key="k", value="2")

    assert file_problems(change) == ["metadata has the key 'k' twice"]


def test_opset_twice():
    (problem,) = file_problems(lambda m: m.opset_import.add(domain="ai.onnx", version=3))
    assert problem == "the model imports several versions of domain ''"


def test_opset_twice_but_the_same():
    def change(model):
        model.opset_import.add(domain="", version=model.opset_import[0].version)

    assert file_problems(change) == []


# Size


def test_deep_nesting_is_reported_without_recursion_errors():
    inner = graph(node("x", "y"), inputs="", outputs="y")
    for _ in range(5000):
        inner = graph(branch(inner), inputs="", outputs="out")
    problems = ir.check(model(node("late", "y"), branch(inner), node("x", "late")))
    assert any("nested more than 60 graphs deep" in problem for problem in problems)


def test_many_problems_are_cut_short():
    nodes = [node("q", f"y{index}") for index in range(1000)]
    with pytest.raises(ir.ModelError, match=r"and 900 more$"):
        ir.verify(model(*nodes))


@pytest.mark.parametrize("order", [1, -1])
def test_large_graphs_are_checked_quickly(order):
    nodes = [node(f"v{index}", f"v{index + 1}") for index in range(50_000)]
    large = model(*nodes[::order], inputs="v0", outputs="v50000")
    start = time.process_time()
    problems = ir.check(large)
    assert time.process_time() - start < 5
    assert problems[100:] == ([] if order == 1 else ["and 49,899 more"])


def test_a_long_cycle_is_no_recursion():
    nodes = [node(f"v{index}", f"v{(index + 1) % 5000}") for index in range(5000)]
    assert "form a cycle" in ir.check(model(*nodes))[0]


def test_replacing_parts_is_checked_too():
    good = VALID["chain"]
    assert ir.check(replace(good, graph=replace(good.graph, initializers=())))
