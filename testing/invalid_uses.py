"""Uses of an operator that the specification forbids: a valid use, changed in one way.

What is wrong is decided by the operator's schema: by what it lists, by words of its text, or by the
shape inference that belongs to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper

from onnxla.ir import STRING
from onnxla.ir.dtypes import number_of
from onnxla.ops.table import full_name
from onnxla.testing.case import Case
from onnxla.testing.malformed.parts import pick
from onnxla.testing.malformed.registry import NotHere
from onnxla.testing.operator_cases import cases, is_found
from onnxla.testing.schemas import onnx_schemas
from onnxla.testing.types import dtype_of, tensor_type
from onnxla.testing.wanted import Opset

# Dtypes that an operand is given which it may not have, the most likely ones first.
DTYPES = ("float32", "int64", "bool", "float64", "int32", "uint8", "complex64", "float16", "int8")
# Words by which the text of an attribute says that there are no other values than those it names.
ONE_OF = re.compile(r"[^.]*\b(must be (either|one of)|can only be)\b[^.]*", re.IGNORECASE)
# The same of an axis; some are ignored at times.
AXIS = re.compile(
    r"^(?!.*([Ii]gnored|[Uu]sed only)).*?(?P<words>[^.]*\[-r,? ?r ?- ?1\][^.]*)", re.DOTALL
)


@dataclass(frozen=True, eq=False)
class InvalidUse:
    """A model of one node that the specification forbids, and its inputs.

    For example:

        @given(onnxla.testing.refused("Neg"))
        @settings(max_examples=2, deadline=None)
        def test_reasons(use):
            print(use.what, use.why)

        test_reasons()

    Attributes:
        model: The `.onnx` file.
        inputs: By name, of the dtypes and shapes that the model declares.
        op_type: The operator's name.
        what: What is wrong: one of `wrongs()`.
        why: What the schema says, or how the shape inference that belongs to it refuses the use.
    """

    model: bytes
    inputs: Mapping[str, Any]
    op_type: str
    what: str
    why: str

    def __repr__(self) -> str:
        return f"InvalidUse({self.op_type}: {self.what}; {self.why})"


class Edited:
    """A case while it is changed.

    Attributes:
        draw: Draws.
        schema: What `onnx` has of the operator.
        model: The model, to be changed in place.
        inputs: Those of the case, to be changed in place.
        operands: The case's operands.
    """

    def __init__(self, draw: st.DrawFn, case: Case) -> None:
        self.draw = draw
        self.schema = onnx_schemas()[case.domain, case.op_type, case.version]
        self.model = ModelProto()
        self.model.CopyFrom(case.proto)
        self.inputs = dict(case.inputs)
        self.operands = case.operands

    @property
    def node(self) -> NodeProto:
        """The model's only node."""
        return self.model.graph.node[0]

    def formal(self, position: int) -> Any:
        """What the schema says of the operand at a position."""
        return self.schema.inputs[min(position, len(self.schema.inputs) - 1)]

    def tensors(self) -> list[int]:
        """Positions of the operands that are tensors."""
        return [i for i, value in enumerate(self.operands) if isinstance(value, np.ndarray)]

    def replace(self, position: int, array: np.ndarray) -> None:
        """Puts another array in an operand's place, whether it is fed or stored."""
        name, graph = self.node.input[position], self.model.graph
        for tensor in graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(array, name))
        for value in graph.input:
            if value.name == name:
                self.inputs[name] = array
                number = number_of(array.dtype)
                value.CopyFrom(helper.make_tensor_value_info(name, number, array.shape))

    def forget_shapes(self) -> None:
        """Leaves the shapes of outputs to whoever runs the model."""
        for value in self.model.graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")


# Changes a case, and says why it is wrong then; an empty text if shape inference has to tell.
Wrong = Callable[[Edited], str]
WRONGS: dict[str, Wrong] = {}


def wrongs() -> list[str]:
    """What may be wrong with a use.

    For example:

        print(onnxla.testing.wrongs())
    """
    return [*WRONGS]


def wrong(what: str) -> Callable[[Wrong], Wrong]:
    """Registers a change."""

    def decorate(change: Wrong) -> Wrong:
        WRONGS[what] = change
        return change

    return decorate


def refused(
    op_type: str, opset: Opset = None, domain: str = "", what: str | None = None
) -> st.SearchStrategy[InvalidUse]:
    """Uses of an operator that a runtime should refuse, each of them a valid use but for one thing.

    For example:

        @given(onnxla.testing.refused("Neg"))
        @settings(max_examples=2, deadline=None)
        def test_refusal(use):
            assert onnxla.testing.refuses("onnxla", use).kind != "crashed"

        test_refusal()

    Args:
        op_type: The operator's name.
        opset: See `cases`.
        domain: The operator's domain, one of those that the `onnx` package has.
        what: One of `wrongs()`, for uses that are wrong in this alone; by default in any of them.

    Raises:
        KeyError: The operator has no strategy, or the `onnx` package no schema of it.
        ValueError: Nothing is called `what`, or no use of the operator can be wrong in it.
    """
    if what is not None and what not in WRONGS:
        raise ValueError(f"no wrong is called {what!r}; there are {', '.join(WRONGS)}")
    valid = cases(op_type, opset, domain)
    if all(key[:2] != (domain, op_type) for key in onnx_schemas()):
        raise KeyError(f"the onnx package has no schema of {domain}.{op_type}")
    found = invalid_uses(valid, [what] if what else wrongs())
    if not is_found(found, lambda use: use is not None):
        raise ValueError(f"no use of {full_name(op_type, domain)} is found that is wrong: {what}")
    return found.filter(lambda use: use is not None)


@st.composite
def invalid_uses(draw: st.DrawFn, valid: st.SearchStrategy[Case], names: Sequence[str]) -> Any:
    """A valid use, changed in the first of the ways, in a drawn order, that it has a place for.

    None if it has a place for none.
    """
    case = draw(valid)
    for what in draw(st.permutations(names)):
        edited = Edited(draw, case)
        try:
            why = WRONGS[what](edited)
        except NotHere:
            continue
        data = edited.model.SerializeToString()
        if why or (not inference_error(case.model) and (why := inference_error(data))):
            return InvalidUse(data, edited.inputs, case.op_type, what, why)
    return None


def inference_error(model: bytes) -> str:
    """What shape inference says against a model, in one line.

    It does not count if a subgraph's shapes are not as they are declared.
    """
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        text = " ".join(str(error).split())
        return "" if "existing shape" in text else text
    return ""


@wrong("an attribute that the schema lacks")
def unknown_attribute(edited: Edited) -> str:
    """Adds an attribute of a name that the operator does not have."""
    edited.node.attribute.append(helper.make_attribute("nothing", 1))
    return f"its attributes are {', '.join(edited.schema.attributes) or 'none'}"


@wrong("an attribute of another type")
def attribute_of_another_type(edited: Edited) -> str:
    """Gives an attribute a value of another type."""
    values = {"FLOAT": 0.5, "INT": 1, "STRING": "a", "FLOATS": [0.5], "INTS": [1], "STRINGS": ["a"]}
    name = pick(edited.draw, sorted(edited.schema.attributes))
    kind = edited.schema.attributes[name].type.name
    other = pick(edited.draw, [value for text, value in values.items() if text != kind])
    put_attribute(edited.node, helper.make_attribute(name, other))
    return f"`{name}` is of type {kind}"


@wrong("a required attribute is missing")
def missing_attribute(edited: Edited) -> str:
    """Takes an attribute that must be there."""
    required = sorted(n for n, a in edited.schema.attributes.items() if a.required)
    name = pick(edited.draw, required)
    kept = [a for a in edited.node.attribute if a.name != name]
    del edited.node.attribute[:]
    edited.node.attribute.extend(kept)
    return f"`{name}` is required"


@wrong("too many inputs")
def too_many_inputs(edited: Edited) -> str:
    """Repeats an operand until there are more than the operator has."""
    most = edited.schema.max_input
    if most > 100 or not edited.node.input:
        raise NotHere
    missing = most - len(edited.node.input)
    edited.node.input.extend([edited.node.input[0]] * (missing + edited.draw(st.integers(1, 3))))
    return f"there are at most {most} inputs"


@wrong("too few inputs")
def too_few_inputs(edited: Edited) -> str:
    """Takes an input that must be there."""
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    every = enumerate(edited.schema.inputs)
    position, formal = pick(edited.draw, [(i, f) for i, f in every if f.option == single])
    if position == len(edited.node.input) - 1:
        del edited.node.input[position]
    else:
        edited.node.input[position] = ""
    return f"input `{formal.name}` is not optional"


@wrong("too many outputs")
def too_many_outputs(edited: Edited) -> str:
    """Asks for more outputs than there are."""
    most = edited.schema.max_output
    if most > 100:
        raise NotHere
    edited.node.output.extend(f"z{i}" for i in range(most - len(edited.node.output) + 1))
    return f"there are at most {most} outputs"


@wrong("a dtype that the schema does not allow")
def forbidden_dtype(edited: Edited) -> str:
    """Gives an operand a dtype that is not among those of its type variable."""
    position = pick(edited.draw, edited.tensors())
    formal = edited.formal(position)
    others = [d for d in map(np.dtype, DTYPES) if tensor_type(d) not in formal.types]
    dtype = pick(edited.draw, others)
    edited.replace(position, converted(edited.operands[position], dtype))
    return f"input `{formal.name}` of type {formal.type_str} is no {tensor_type(dtype)}"


@wrong("operands of one type that have different dtypes")
def different_dtypes(edited: Edited) -> str:
    """Gives one of the operands that share a type variable another dtype of those allowed."""
    position, other = pick(edited.draw, list(pairs_of_one_type(edited)))
    array, formal = edited.operands[position], edited.formal(position)
    allowed = sorted(dtype_of(t).name for t in formal.types if t.startswith("tensor("))
    dtypes = [d for d in map(np.dtype, DTYPES) if d.name in allowed and d != array.dtype]
    edited.replace(position, converted(array, pick(edited.draw, dtypes)))
    names = f"`{formal.name}` and `{edited.formal(other).name}`"
    return f"inputs {names} are both of type {formal.type_str}"


@wrong("an operand of a rank that cannot be")
def forbidden_rank(edited: Edited) -> str:
    """Adds an axis to an operand or takes one."""
    position = pick(edited.draw, edited.tensors())
    array = edited.operands[position]
    shapes = [(1, *array.shape), (1, 1, *array.shape), *([()] if array.size else [])]
    if array.ndim and array.size:
        shapes.insert(0, array.shape[1:])
    shape = pick(edited.draw, [shape for shape in shapes if len(shape) != array.ndim])
    count = int(np.prod(shape))
    edited.replace(position, array.reshape(-1)[:count].reshape(shape))
    edited.forget_shapes()
    return ""


@wrong("an axis out of range")
def axis_out_of_range(edited: Edited) -> str:
    """Sets an attribute that the text limits to the axes of the first operand."""
    found = [(n, m) for n, a in texts(edited, AttributeProto.INT) if (m := AXIS.search(a))]
    name, words = pick(edited.draw, found)
    if not isinstance(edited.operands[0], np.ndarray):
        raise NotHere
    rank = edited.operands[0].ndim
    value = edited.draw(st.sampled_from((rank + 1, -rank - 2, rank + 7)))
    put_attribute(edited.node, helper.make_attribute(name, value))
    edited.forget_shapes()
    return f"`{name}`: '{' '.join(words['words'].split())}'"


@wrong("a word that is none of those named")
def unknown_word(edited: Edited) -> str:
    """Gives an attribute another text than those that it may have."""
    found = [(n, m) for n, a in texts(edited, AttributeProto.STRING) if (m := ONE_OF.search(a))]
    name, words = pick(edited.draw, found)
    put_attribute(edited.node, helper.make_attribute(name, "nothing"))
    edited.forget_shapes()
    return f"`{name}`: '{' '.join(words[0].split())}'"


@wrong("a number that an attribute cannot have")
def forbidden_number(edited: Edited) -> str:
    """Sets an attribute to numbers that are too large or too small for shape inference."""
    kinds = (AttributeProto.INT, AttributeProto.INTS)
    there = [a for a in edited.node.attribute if a.type in kinds]
    attribute = pick(edited.draw, there)
    number = edited.draw(st.sampled_from((-1, 1000, -1000)))
    if attribute.type == AttributeProto.INT:
        attribute.i = number
    else:
        attribute.ints[:] = edited.draw(
            st.sampled_from(([number] * len(attribute.ints), [*attribute.ints, 1], [1]))
        )
    edited.forget_shapes()
    return ""


def texts(edited: Edited, kind: int) -> Iterator[tuple[str, str]]:
    """Names and texts of the attributes of a kind."""
    for name, attribute in sorted(edited.schema.attributes.items()):
        if attribute.type.value == kind:
            yield name, attribute.description


def put_attribute(node: NodeProto, attribute: AttributeProto) -> None:
    """Sets an attribute of a node, in the place of the one of its name."""
    kept = [a for a in node.attribute if a.name != attribute.name]
    del node.attribute[:]
    node.attribute.extend([*kept, attribute])


def pairs_of_one_type(edited: Edited) -> Iterator[tuple[int, int]]:
    """Positions of two operands that must have the same dtype."""
    positions = edited.tensors()
    for i in positions:
        for j in positions:
            a, b = edited.formal(i), edited.formal(j)
            apart = edited.node.input[i] != edited.node.input[j]
            if apart and a.type_str == b.type_str and a.is_homogeneous and "(" not in a.type_str:
                yield i, j


def converted(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Numbers in another dtype; ones where there is no such number."""
    if array.dtype == STRING or array.dtype.kind == "c":
        return np.ones(array.shape, dtype)
    with np.errstate(all="ignore"):
        return array.astype(dtype)
