"""What must hold for every case in any runtime, by its own answers: properties, each a function.

Each takes a case, what runs a model, and the outputs of the case's own; it returns whether the
property says anything about the case, and raises `PropertyViolated` where it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnxla.peers.isolation import RuntimeCrashed
from onnxla.peers.protocol import NotSupported, Runtime
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault, fault_of
from onnxla.testing.outcomes import Outcome, one_line, outputs_of, runtime_of
from onnxla.testing.traceable import PropertyViolated, assert_same
from onnxla.testing.types import dtype_of, type_string

# How faults call two parts of onnx.
CONVERTER = "version converter"
INFERENCE = "shape inference"
# The outputs of a model, in order, for inputs by name.
RunModel = Callable[[bytes, Mapping[str, Any]], Sequence[Any]]
RuntimeProperty = Callable[[Case, RunModel, Sequence[Any]], bool]


def the_answer_is_repeated(case: Case, run: RunModel, outputs: Sequence[Any]) -> bool:
    """A second run gives the same."""
    if case.tolerance.random:
        return False
    assert_same(case, run(case.model, case.inputs), outputs, "a second run differs")
    return True


def stored_operands_are_as_fed(case: Case, run: RunModel, outputs: Sequence[Any]) -> bool:
    """Operands that the model stores, which a runtime may compute with before, change nothing.

    The first input stays one, since not every runtime takes a model without inputs.
    """
    later = dict(list(case.inputs.items())[1:])
    if case.tolerance.random or not later:
        return False
    if not all(isinstance(value, np.ndarray) for value in later.values()):
        return False
    model = onnx.load_from_string(case.model)
    left = [value for value in model.graph.input if value.name not in later]
    del model.graph.input[:]
    model.graph.input.extend(left)
    model.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in later.items())
    fed = {name: value for name, value in case.inputs.items() if name not in later}
    assert_same(case, run(model.SerializeToString(), fed), outputs, "stored operands differ")
    return True


def outputs_are_as_inferred(
    case: Case, run: RunModel, outputs: Sequence[Any], faults: Sequence[Fault] | None = None
) -> bool:
    """Dtypes and shapes are those that the model states and that ONNX infers."""
    if fault_of(case, [INFERENCE], faults):  # from which the stated shapes come, too
        return False
    assert_as_stated(case, case.proto, outputs, "stated")
    bare = onnx.ModelProto()
    bare.CopyFrom(case.proto)
    for value in bare.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    assert_as_stated(case, inferred, outputs, "inferred")
    return True


def assert_as_stated(case: Case, model: onnx.ModelProto, outputs: Sequence[Any], how: str) -> None:
    """Raises PropertyViolated where outputs have other dtypes and shapes than a model says."""
    for value, got in zip(model.graph.output, outputs, strict=True):
        if not value.type.HasField("tensor_type") or got is None:
            continue
        got = np.asarray(got)
        if got.dtype != dtype_of(type_string(value.type)):
            text = f"'{value.name}' is {got.dtype}, {how} {type_string(value.type)}"
            raise PropertyViolated(case, text)
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shape = [d.dim_value if d.HasField("dim_value") else None for d in dims]
            if len(shape) != got.ndim or any(
                n is not None and n != m for n, m in zip(shape, got.shape, strict=True)
            ):
                text = f"'{value.name}' has shape {list(got.shape)}, {how} {shape}"
                raise PropertyViolated(case, text)


def converter_keeps_the_answer(
    case: Case, run: RunModel, outputs: Sequence[Any], faults: Sequence[Fault] | None = None
) -> bool:
    """A model that onnx's version converter brings to the newest opset computes the same.

    It says nothing about what the converter does not convert, or converts wrongly for a reason that
    is on record.
    """
    if case.domain != "" or case.tolerance.random or fault_of(case, [CONVERTER], faults):
        return False
    newest = onnx.defs.onnx_opset_version()
    try:
        upgraded = onnx.version_converter.convert_version(case.proto, newest)
        onnx.checker.check_model(upgraded, full_check=True)
    except (
        RuntimeError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        onnx.version_converter.ConvertError,
    ):
        return False
    if upgraded.graph.input != case.proto.graph.input:  # as of Scan, which had a batch once
        return False
    later = run(upgraded.SerializeToString(), case.inputs)
    assert_same(case, later, outputs, f"at opset {newest} the outputs differ")
    return True


def batch_entries_are_independent(case: Case, run: RunModel, outputs: Sequence[Any]) -> bool:
    """Where a first axis is a batch, doubling it doubles the outputs, entry by entry."""
    if not case.batch:
        return False
    doubled = {
        k: np.concatenate([v, np.flip(v, 0)]) if k in case.batch else v
        for k, v in case.inputs.items()
    }
    expected = [np.concatenate([y, np.flip(y, 0)]) for y in map(np.asarray, outputs)]
    twice = run(model_of_any_batch(case), doubled)
    assert_same(case, twice, expected, "a batch twice as large differs")
    return True


def model_of_any_batch(case: Case) -> bytes:
    """The model without a statement about the size of the batch."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.proto)
    for value in proto.graph.input:
        if value.name in case.batch:
            value.type.tensor_type.shape.dim[0].Clear()
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    return proto.SerializeToString()


RUNTIME_PROPERTIES: tuple[RuntimeProperty, ...] = (
    the_answer_is_repeated,
    stored_operands_are_as_fed,
    outputs_are_as_inferred,
    converter_keeps_the_answer,
    batch_entries_are_independent,
)


def judge_by_itself(case: Case, runtime: Runtime | str) -> Outcome:
    """What came of the properties of a case in a runtime: `agreed`, or which one does not hold."""
    tested = runtime_of(runtime)

    def run(model: bytes, inputs: Mapping[str, Any]) -> Sequence[Any]:
        other = Case(model, dict(inputs))
        if known is None and (fault := fault_of(other, [tested.name])):
            raise NotSupported(fault.title)
        return outputs_of(tested, other)

    known = fault_of(case, [tested.name])
    what = "the case"
    try:
        outputs = run(case.model, case.inputs)
        if len(outputs) != (due := len(case.proto.graph.output)):
            raise PropertyViolated(case, f"{len(outputs)} outputs, not {due}")
        for holds in RUNTIME_PROPERTIES:
            what = holds.__name__
            try:
                holds(case, run, outputs)
            except (NotSupported, NotImplementedError):
                continue  # it says nothing
    except PropertyViolated as error:
        found = Outcome("disagreed", f"{what}: {error.text}")
    except (NotSupported, NotImplementedError) as error:
        return Outcome("unsupported", f"{tested.name}: {one_line(error)}")
    except (Exception, SystemExit) as error:
        detail, crashed = f"{tested.name}: {one_line(error)}", isinstance(error, RuntimeCrashed)
        found = Outcome("failed", f"{what}: {detail}", crashed=crashed)
    else:
        return Outcome("agreed", judges=("properties",))
    return replace(found, kind="known fault", fault=known) if known else found
