"""The wire format is exactly ONNX's, and does not clash with the onnx package."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from onnxla.ir import onnx_pb2

PROTO = Path(onnx_pb2.__file__).with_name("onnx.proto")


def test_generated_module_is_up_to_date(tmp_path):
    package = tmp_path / "onnxla" / "ir"
    package.mkdir(parents=True)
    (package / "onnx.proto").write_bytes(PROTO.read_bytes())
    output = tmp_path / "descriptors"
    arguments = ["protoc", f"-I{tmp_path}", f"--descriptor_set_out={output}"]
    assert protoc.main([*arguments, "onnxla/ir/onnx.proto"]) == 0
    compiled = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file[0]
    compiled.ClearField("options")
    committed = descriptor_pb2.FileDescriptorProto.FromString(onnx_pb2.DESCRIPTOR.serialized_pb)
    committed.ClearField("options")
    for file in (compiled, committed):  # of the compiler's choice, not of the format's
        for message in _messages(file.message_type):
            for field in message.field:
                field.ClearField("json_name")
    assert compiled == committed


def _messages(messages):
    for message in messages:
        yield message
        yield from _messages(message.nested_type)


def _format(file) -> dict[str, object]:
    """Every message and enum of a file, in terms of names, numbers, labels and types."""
    found: dict[str, object] = {}

    def visit_enums(enums, scope):
        for enum in enums:
            found[scope + enum.name] = {value.name: value.number for value in enum.value}

    def visit(messages, scope):
        for message in messages:
            found[scope + message.name] = {
                field.number: (
                    field.name,
                    field.label,
                    field.type,
                    field.type_name.rpartition("onnx.")[2].rpartition("onnxla.wire.")[2],
                    field.options.packed,
                    field.HasField("oneof_index"),
                )
                for field in message.field
            }
            visit_enums(message.enum_type, f"{scope}{message.name}.")
            visit(message.nested_type, f"{scope}{message.name}.")

    visit_enums(file.enum_type, "")
    visit(file.message_type, "")
    return found


def _proto(module) -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)


def test_every_message_and_enum_equals_that_of_onnx():
    theirs = _format(_proto(onnx.onnx_ml_pb2)) | _format(_proto(onnx.onnx_data_pb2))
    ours = _format(_proto(onnx_pb2))
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name] == theirs[name], name


@pytest.mark.parametrize("order", ["onnx, onnxla.ir", "onnxla.ir, onnx"])
def test_imports_beside_onnx_in_either_order(order):
    code = f"import {order}; onnxla.ir.read(onnx.ModelProto(graph=onnx.GraphProto()))"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
