"""The command `onnxla info`: what a model is, and what is unsupported in it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxla import ir
from onnxla.commands.json_values import printed
from onnxla.commands.messages import printable
from onnxla.commands.terminal import show
from onnxla.draw.drawing import draw, form_of
from onnxla.findings import Findings, check
from onnxla.module import Module, load
from onnxla.ops.signatures import find_misfits
from onnxla.parameters.roles import find_parameters
from onnxla.summary import describe_type, summarize


def add_info(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser("info", help="what a model is, and what is unsupported in it")
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument(
        "--graph",
        type=Path,
        metavar="PATH",
        help="write the graph drawn: .html, which opens and folds in a browser, .svg or .png",
    )
    command.add_argument("--json", action="store_true", help="print a JSON document")
    command.set_defaults(command=run_info)


def run_info(arguments: argparse.Namespace) -> int:
    """`onnxla info`."""
    if arguments.graph is not None:
        form_of(arguments.graph)  # told before a long drawing
    model = ir.read(arguments.file)
    ir.verify(model)
    find_misfits(model).raise_any()
    findings = check(arguments.file)
    module = load(model) if findings.ok or arguments.graph is not None else None
    if arguments.json:
        print(printed(record(model, findings, module)))
    else:
        show(summarize(model, find_parameters(model), {}))
        if module is not None:
            show(module.layers)
        for note in findings.notes:
            print(printable(f"note: {note}"))
    if arguments.graph is not None and module is not None:
        draw(module).save(arguments.graph)
        print(printable(f"the graph is drawn in {arguments.graph}"), file=sys.stderr)
    return 0 if findings.ok else 1


def record(model: ir.Model, findings: Findings, module: Module | None) -> dict[str, Any]:
    """What a model is, in types that JSON has; without layers, if it cannot be run."""
    parameters = find_parameters(model)
    defaults = {tensor.name for tensor in model.graph.initializers}
    inputs = [value for value in model.graph.inputs if value.name not in defaults]
    return {
        "graph": model.graph.name,
        "producer": model.producer,
        "ir_version": model.ir_version,
        "opsets": {domain or "ai.onnx": version for domain, version in model.opsets.items()},
        "inputs": {value.name: describe_type(value.type) for value in inputs},
        "outputs": {value.name: describe_type(value.type) for value in model.graph.outputs},
        "parameters": [
            {
                "name": name,
                "role": parameters.roles[name],
                "dtype": str(tensor.dtype),
                "shape": [*tensor.shape],
                "trains": name in parameters.trained,
            }
            for name, tensor in parameters.params.items()
        ],
        "layers": [asdict(layer) for layer in module.layers] if module is not None else None,
        **asdict(findings),
    }
