"""Generate ir/onnx_pb2.py and ir/onnx_pb2.pyi from ir/onnx.proto.

    make generate

It takes grpcio-tools 1.73.1: its code asks for protobuf 6.31, the oldest that pyproject.toml
allows, and newer ones accept it.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

IR = Path(__file__).resolve().parent.parent / "ir"


def main() -> int:
    """Run protoc on a copy that lies where the package has it: the path is the registered name."""
    with tempfile.TemporaryDirectory() as root:
        package = Path(root, "onnxla", "ir")
        package.mkdir(parents=True)
        shutil.copy(IR / "onnx.proto", package)
        outputs = [f"--python_out={root}", f"--pyi_out={root}"]
        if status := protoc.main(["protoc", f"-I{root}", *outputs, "onnxla/ir/onnx.proto"]):
            return int(status)
        shutil.copy(package / "onnx_pb2.py", IR)
        types = (package / "onnx_pb2.pyi").read_text()
        (IR / "onnx_pb2.pyi").write_text('# mypy: disable-error-code="type-arg"\n' + types)
    return 0


if __name__ == "__main__":
    sys.exit(main())
