"""What a model is known by: all that decides what it computes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxla
from onnxla import ir
from onnxla.ir.fingerprint import fingerprint
from support.small_models import header, make

W = np.float32([[1, 2], [3, 4]])

TEXT = (
    '<ir_version: 9, opset_import: ["": 20, "l": 1]>'
    """ m (float[N, 2] x, bool c) => (float[N, 2] y) {
        h = MatMul (x, w)
        a = LeakyRelu <alpha = 0.25> (h)
        b = l.f <beta = 0.5> (a)
        y = If (c) <
            then_branch = t () => (p) { p = Elu <alpha = 2.0> (b) },
            else_branch = e () => (q) { q = Neg (b) }
        >
    }
    <domain: "l", opset_import: ["": 20]> f <beta> (u) => (v) {
        k = Constant <value_float: float = @beta> ()
        v = Mul (u, k)
    }"""
)


def model() -> onnx.ModelProto:
    return onnx.load_from_string(make(TEXT, w=W))


def hashed(proto: onnx.ModelProto) -> str:
    return fingerprint(ir.read(proto))


Change = Callable[[onnx.ModelProto], Any]

DIFFERENT: dict[str, Change] = {
    "an attribute": lambda m: setattr(m.graph.node[1].attribute[0], "f", 0.5),
    "an attribute that is another kind of number": lambda m: (
        m.graph.node[1].attribute[0].CopyFrom(helper.make_attribute("alpha", 1))
    ),
    "an attribute more": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("z", 0)),
    "an attribute of a node in a subgraph": lambda m: setattr(
        m.graph.node[3].attribute[0].g.node[0].attribute[0], "f", 1.0
    ),
    "a node in a subgraph": lambda m: setattr(
        m.graph.node[3].attribute[1].g.node[0], "op_type", "Abs"
    ),
    "a node in a function": lambda m: setattr(m.functions[0].node[1], "op_type", "Add"),
    "a function's opsets": lambda m: setattr(m.functions[0].opset_import[0], "version", 19),
    "an attribute of a call": lambda m: setattr(m.graph.node[2].attribute[0], "f", 0.25),
    "opsets": lambda m: setattr(m.opset_import[0], "version", 19),
    "a number": lambda m: m.graph.initializer[0].CopyFrom(numpy_helper.from_array(-W, "w")),
    "a sign of zero": lambda m: m.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(W * 0 * -1, "w")
    ),
    "a shape": lambda m: m.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(W.reshape(1, 4), "w")
    ),
    "a dtype": lambda m: m.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(W.view(np.int32), "w")
    ),
    "a domain": lambda m: setattr(m.graph.node[0], "domain", "l"),
    "an operand": lambda m: m.graph.node[0].input.reverse(),
    "an absent operand": lambda m: m.graph.node[0].input.append(""),
    "the order of inputs": lambda m: m.graph.input.reverse(),
    "outputs": lambda m: m.graph.output.append(onnx.ValueInfoProto(name="h")),
    "a mark of ours": lambda m: m.graph.node[0].metadata_props.add(key="onnxla.x", value="1"),
}

SAME: dict[str, Change] = {
    "nothing": lambda m: None,
    "the name of a node": lambda m: setattr(m.graph.node[0], "name", "first"),
    "the name of the graph": lambda m: setattr(m.graph, "name", "other"),
    "documentation": lambda m: setattr(m, "doc_string", "a model"),
    "the producer": lambda m: setattr(m, "producer_name", "somebody"),
    "metadata": lambda m: m.metadata_props.add(key="author", value="me"),
    "the order of attributes": lambda m: m.graph.node[3].attribute.reverse(),
    "how data is written": lambda m: m.graph.initializer[0].CopyFrom(
        helper.make_tensor("w", onnx.TensorProto.FLOAT, W.shape, W.ravel())
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_decides_what_is_computed_changes_it(what: str) -> None:
    changed = model()
    if what == "a sign of zero":
        plain = model()
        plain.graph.initializer[0].CopyFrom(numpy_helper.from_array(W * 0, "w"))
        DIFFERENT[what](changed)
        assert hashed(changed) != hashed(plain)
        return
    DIFFERENT[what](changed)
    assert hashed(changed) != hashed(model())


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_leaves_it(what: str) -> None:
    changed = model()
    SAME[what](changed)
    assert hashed(changed) == hashed(model())


def test_it_is_known_for_good() -> None:
    # Files have it: another hash is another format, which says so.
    assert hashed(model()) == "a340423935b24f13e35c5562569c95cbb512b459546484f3409494020753ec14"


def test_that_of_a_module_follows_its_parameters() -> None:
    module = onnxla.load(model())
    other = module.replace({"w": W + 1})
    assert module.fingerprint() != other.fingerprint()
    assert other.replace({"w": W}).fingerprint() == module.fingerprint()
    assert other.fingerprint() == onnxla.load(ir.write(other.to_ir())).fingerprint()


def test_texts_and_sparse_tensors_are_hashed() -> None:
    texts = [np.array(["a", "b"], object), np.array(["ab", ""], object)]
    found = {
        hashed(onnx.load_from_string(make(header() + " m () => (y) { y = Identity (t) }", t=t)))
        for t in texts
    }
    for values in ([1.0, 2.0], [1.0, 3.0]):
        proto = onnx.load_from_string(make(header() + " m () => (y) { y = Identity (t) }"))
        proto.graph.sparse_initializer.append(
            helper.make_sparse_tensor(
                helper.make_tensor("t", onnx.TensorProto.FLOAT, [2], values),
                helper.make_tensor("i", onnx.TensorProto.INT64, [2], [0, 2]),
                [3],
            )
        )
        found.add(hashed(proto))
    assert len(found) == 4
