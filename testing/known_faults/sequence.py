"""Faults in sequences."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, attribute, operands, rank
from onnxla.testing.types import Typed
from onnxla.testing.use import example

ONE = np.ones(1, np.float32)
TYPES = {"y0": "seq(tensor(float))"}


@When
def captures(case: Case) -> bool:
    """Whether the body uses a value from outside."""
    body = case.attributes["body"]
    own = {value.name for value in body.input} | {t.name for t in body.initializer}
    made = {name for node in body.node for name in node.output}
    return any(name and name not in own | made for node in body.node for name in node.input)


@When
def several_sequences(case: Case) -> bool:
    """Whether there is a second sequence, and not as the only further operand."""
    further = case.operands[1:]
    return len(further) > 1 and any(isinstance(value, list) for value in further)


def map_example(sequences: int, second: str = "b", empty: bool = False) -> Case:
    """The sums of the elements of two of up to three sequences."""
    names = ["a", "b", "c"][:sequences]
    body = helper.make_graph(
        [helper.make_node("Add", ["a", second], ["y"])],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    sequence = Typed("seq(tensor(float))", []) if empty else [ONE]
    further = [ONE] if second.startswith("additional") else [sequence] * (sequences - 1)
    return example("SequenceMap", 17, sequence, *further, types=TYPES, body=body)


FAULTS = [
    Fault(
        "reference",
        "SequenceInsert",
        "takes a position after the last element for 0, and fails if there are no elements",
        "'Accepted range in `[-n, n]`, where `n` is the number of tensors in 'input_sequence'.'",
        lambda case: len(case.operands) == 3 and int(case.operands[2]) == len(case.operands[0]),
        lambda: example("SequenceInsert", 11, [ONE], ONE + 1, np.array(1)),
    ),
    Fault(
        "onnxruntime",
        "SplitToSequence",
        "drops the axis where `split` is a scalar and `keepdims` is 0",
        "'keepdims: ... If input 'split' is specified, this attribute is ignored.'",
        (operands(2) & ~operands(3)) & rank(0, of=1) & attribute("keepdims", 0),
        lambda: example(
            "SplitToSequence", 11, np.ones(3, np.float32), np.array(2), types=TYPES, keepdims=0
        ),
    ),
    Fault(
        "reference",
        "SequenceMap",
        "fails if there are no elements",
        "'The length of the first input sequence will determine the number of samples in the "
        "outputs', be it 0.",
        lambda case: len(case.operands[0]) == 0,
        lambda: map_example(2, empty=True),
    ),
    Fault(
        "reference",
        "SequenceMap",
        "passes whole sequences to the body if there are more than two operands",
        "'a sample will be extracted from the input sequence(s) at the i-th position'.",
        several_sequences,
        lambda: map_example(3),
    ),
    Fault(
        "reference",
        "SequenceMap",
        "cannot use a value from outside in the body",
        "ONNX's IR: names of the enclosing graph are visible in a subgraph.",
        captures,
        lambda: map_example(2, "additional_inputs_1"),
    ),
]
