"""Where each public name is defined. A room's code is imported when one of its names is used.

This table is the one place at which a room may reach a later one: `import onnxla` stays fast, and a
`Module` has methods, such as `save(check=...)`, whose work belongs to rooms that build on it.
"""

from __future__ import annotations

import importlib
from typing import Any

PUBLIC = {
    "Audit": "onnxla.auditing.remarks",
    "Findings": "onnxla.findings",
    "Module": "onnxla.module",
    "audit": "onnxla.auditing.audit",
    "check": "onnxla.findings",
    "load": "onnxla.module",
    "load_exported": "onnxla.exported",
    "Exported": "onnxla.exported",
    "ModelError": "onnxla.ir.errors",
    "OnnxlaError": "onnxla.ir.errors",
    "StaticOperandError": "onnxla.ir.errors",
    "UnsupportedError": "onnxla.ir.errors",
    "op": "onnxla.ops.table",
    "Limits": "onnxla.ops.limits",
    "CheckpointError": "onnxla.train.checkpoints",
    "FitResult": "onnxla.train.loop",
    "NonFiniteLossError": "onnxla.train.loop",
    "TrainingInterrupted": "onnxla.train.loop",
    "Plateau": "onnxla.train.plateau",
    "evaluate": "onnxla.train.evaluation",
    "fit": "onnxla.train.fitting",
    "lr_find": "onnxla.train.lr_find",
    "predict": "onnxla.train.prediction",
    "compare": "onnxla.peers.node_by_node",
}
# What methods of `Module` are made of, and users call through them alone.
METHODS = {
    "Decoder": "onnxla.generate.decoder",
    "draw": "onnxla.draw.drawing",
    "layers": "onnxla.draw.layers",
    "values": "onnxla.draw.values",
    "without_past": "onnxla.generate.whole_sequences",
    "check_saved_file": "onnxla.peers.saved_file",
    "export_program": "onnxla.exporting",
    "write_runtime_adapters": "onnxla.peers.adapters",
}
# Modules that are attributes of the package once it is imported.
MODULES = ("backend", "generate", "ir", "loggers", "losses", "testing")


def find(name: str) -> Any:
    """What a name stands for; the module that defines it is imported if it has not been yet.

    Raises:
        AttributeError: The package has no such name.
    """
    if name in MODULES:
        return importlib.import_module(f"onnxla.{name}")
    module = {**PUBLIC, **METHODS}.get(name)
    if module is None:
        from onnxla.ir.names import nearest  # which `import onnxla` need not load

        known = nearest(name, [*PUBLIC, *MODULES])
        raise AttributeError(f"module 'onnxla' has no attribute '{name}'; {known}")
    return getattr(importlib.import_module(module), name)
