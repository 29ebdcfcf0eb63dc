"""Adapters in ONNX Runtime's own format, for a model in which they are inputs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from onnxla import ir
from onnxla.peers.onnx_runtime import WIDE


def write_runtime_adapters(values: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Writes values by name as an `.onnx_adapter` file, through ONNX Runtime's own writer.

    The file is written beside the target and renamed.

    Raises:
        UnsupportedError: A value is of a type that the writer does not take.
        ImportError: ONNX Runtime is not installed.
    """
    try:
        from onnxruntime import AdapterFormat, OrtValue
    except ImportError as error:
        raise ImportError(
            'save_adapters(form="onnxruntime") writes through ONNX Runtime; install it with the '
            "extra 'compare'"
        ) from error
    if narrow := sorted({str(v.dtype) for v in values.values() if v.dtype in WIDE}):
        raise ir.UnsupportedError(f"ONNX Runtime's writer takes no {', '.join(narrow)}")
    target = Path(path)
    beside = target.with_name(f"{target.name}.{secrets.token_hex(6)}.tmp")
    adapter = AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    adapter.set_parameters(
        {name: OrtValue.ortvalue_from_numpy(np.ascontiguousarray(v)) for name, v in values.items()}
    )
    try:
        adapter.export_adapter(os.fspath(beside.absolute()))  # pyright: ignore
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
