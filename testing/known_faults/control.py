"""Faults in control flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, before, version
from onnxla.testing.types import Typed
from onnxla.testing.use import example

ONE = np.ones(1, np.float32)


def makes_optional(graph: onnx.GraphProto) -> bool:
    """Whether a node of a subgraph, or one inside of it, is an Optional."""
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return any(node.op_type == "Optional" for node in graph.node) or any(map(makes_optional, inner))


@When
def has_optional(case: Case) -> bool:
    """Whether an Optional is in a subgraph."""
    return any(makes_optional(a.g) for a in case.node.attribute if a.HasField("g"))


@When
def without_condition(case: Case) -> bool:
    """Whether a Loop has no condition."""
    return len(case.operands) < 2 or case.operands[1] is None


@When
def own_condition(case: Case) -> bool:
    """Whether a Loop has no condition, but its body computes one that may become false."""
    body = case.attributes["body"]
    given, result = body.input[1].name, body.output[0].name
    copies = [n.output[0] for n in body.node if n.op_type == "Identity" and n.input[0] == given]
    return without_condition(case) and result not in (given, *copies)


def scanned(case: Case) -> list[onnx.ValueInfoProto]:
    """The scan outputs of a Loop."""
    carried = len(case.attributes["body"].input) - 2
    return list(case.proto.graph.output)[carried:]


@When
def stacked_otherwise(case: Case) -> bool:
    """Whether a Loop has scan outputs that are not of rank 2, or may have no steps."""
    m, cond = (*case.operands, None, None)[:2]
    nothing = cond is None or not cond.all() or (m is not None and int(m.item()) == 0)
    ranks = [len(value.type.tensor_type.shape.dim) for value in scanned(case)]
    return any(rank != 2 or nothing for rank in ranks)


@When
def not_forward(case: Case) -> bool:
    """Whether a Scan goes along other axes than 0, or backward."""
    names = [f"scan_{end}_{what}" for end in ("input", "output") for what in ("axes", "directions")]
    return any(any(case.attributes.get(name, ())) for name in names)


@When
def scans_nothing(case: Case) -> bool:
    """Whether a tensor that a Scan goes through has no elements."""
    return any(x.size == 0 for x in case.operands[-case.attributes["num_scan_inputs"] :])


@When
def no_steps(case: Case) -> bool:
    """Whether a Scan with scan outputs has nothing to go through."""
    n = len(case.operands) - case.attributes["num_scan_inputs"]
    axis = (case.attributes.get("scan_input_axes") or [0])[0]
    return bool(len(case.node.output) > n and case.operands[n].shape[axis] == 0)


def subgraph(
    nodes: list[onnx.NodeProto], inputs: str, outputs: str, optional: bool = False
) -> onnx.GraphProto:
    """A subgraph; the names say the types: i is an integer, c and d conditions, others floats."""
    kinds = {"i": TensorProto.INT64, "c": TensorProto.BOOL, "d": TensorProto.BOOL}

    def value(name: str) -> onnx.ValueInfoProto:
        shape = () if name in kinds else None
        kind = helper.make_tensor_type_proto(kinds.get(name, TensorProto.FLOAT), shape)
        if optional:
            kind = helper.make_optional_type_proto(kind)
        return helper.make_value_info(name, kind)

    return helper.make_graph(nodes, "body", [*map(value, inputs)], [*map(value, outputs)])


def loop_example(*operands: Any, op: str = "Identity", scan: bool = False) -> Case:
    """A loop that adds 1 to a number, whose next condition is an operator of the last one."""
    add = helper.make_node("Add", ["a", "a"], ["b"])
    nodes = [helper.make_node(op, ["c"], ["d"]), add]
    if scan:
        nodes.append(helper.make_node("Identity", ["a"], ["e"]))
    outputs = 2 if scan else 1
    return example(
        "Loop",
        13,
        *operands,
        outputs=outputs,
        types={f"y{i}": "tensor(float)" for i in range(outputs)},
        ranks={"y0": operands[2].ndim, "y1": operands[2].ndim + 1},
        body=subgraph(nodes, "ica", "dbe" if scan else "db"),
    )


def scan_example(version: int, *operands: Any, **attributes: Any) -> Case:
    """A scan that doubles each element."""
    body = subgraph([helper.make_node("Add", ["a", "a"], ["b"])], "a", "b")
    ranks = {"y0": operands[-1].ndim}
    return example(
        "Scan",
        version,
        *operands,
        types={"y0": "tensor(float)"},
        ranks=ranks,
        body=body,
        num_scan_inputs=1,
        **attributes,
    )


def optional_example() -> Case:
    """An If whose branches make optionals."""
    empty = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    branch = subgraph([helper.make_node("Optional", [], ["a"], type=empty)], "", "a", optional=True)
    return example(
        "If",
        16,
        np.array(True),
        types={"y0": "optional(tensor(float))"},
        then_branch=branch,
        else_branch=branch,
    )


def optional_loop_example() -> Case:
    """A loop that carries an optional, which its body makes of a number from outside."""
    text = "optional(tensor(float))"
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    optional = helper.make_optional_type_proto(kind)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["d"]),
            helper.make_node("Optional", [], ["b"], type=kind),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
            helper.make_value_info("a", optional),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, ()),
            helper.make_value_info("b", optional),
        ],
    )
    return example(
        "Loop", 16, np.array(1), np.array(True), Typed(text, None), types={"y0": text}, body=body
    )


FAULTS = [
    Fault(
        "onnxruntime",
        "Scan",
        "fails, or crashes with a division by zero, if a scanned tensor has no elements",
        "The schema excludes neither a length of 0 nor elements of size 0.",
        scans_nothing,
        lambda: scan_example(11, np.ones((0, 2), np.float32)),
    ),
    Fault(
        "reference",
        "If",
        "returns a sequence of one element for an optional that a branch makes",
        "See Optional: 'Constructs an optional-type value'.",
        has_optional,
        optional_example,
    ),
    Fault(
        "reference",
        "Loop",
        "runs no step if there is no condition",
        "'input (trip_count, \"\") // Note this is analogous to a for loop'.",
        without_condition,
        lambda: loop_example(np.array(2), None, ONE),
    ),
    Fault(
        "onnxruntime",
        "Loop",
        "ends as the body's condition says where the loop has none",
        "'input (trip_count, \"\"): for (int i=0; i < trip_count; ++i) { cond = ...; // ignored }'",
        own_condition,
        lambda: loop_example(np.array(2), None, ONE, op="Not"),
    ),
    Fault(
        "reference",
        "Loop",
        "joins scan outputs along axis 0 if they are not vectors, and fails without steps",
        "'Each scan_output is created by concatenating the value of the specified output value at "
        "the end of each iteration of the loop': user_defined_vals[i] is the value of step i.",
        stacked_otherwise,
        lambda: loop_example(np.array(2), np.array(True), np.float32(1), scan=True),
    ),
    Fault(
        "reference",
        "Loop",
        "carries a sequence of one element for an optional that the body makes",
        "See Optional: 'Constructs an optional-type value'.",
        has_optional,
        optional_loop_example,
    ),
    Fault(
        "reference",
        "Scan",
        "goes along axis 0 and forward only",
        "It says so: 'Scan is not implemented for other input axes than 0'; a negative axis it "
        "takes for 0.",
        ~before(9) & not_forward,
        lambda: scan_example(11, np.ones((1, 2), np.float32), scan_input_axes=[1]),
    ),
    Fault(
        "reference",
        "Scan",
        "fails without steps",
        "It says so: 'Scan with zero scan-input length and scan outputs is not supported'. The "
        "schema does not exclude it; the scan outputs then have no elements.",
        ~before(9) & no_steps,
        lambda: scan_example(11, np.ones((0, 2), np.float32)),
    ),
    Fault(
        "reference",
        "Scan",
        "takes version 8 for version 9",
        "Version 8 has an operand more, `sequence_lens`, and a batch: 'The operation supports "
        "batching, and the batch-axis is required to be 0'.",
        version(8),
        lambda: scan_example(8, None, np.ones((1, 2), np.float32)),
    ),
]
