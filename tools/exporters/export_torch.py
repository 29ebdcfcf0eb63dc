"""Makes the files and curves of PyTorch's exporters, all or those of the networks named.

Needs torch 2.13.0, onnx 1.23.2 and onnxscript 0.7.2, and no onnxla:

    PYTHONPATH=tests python tools/exporters/export_torch.py [NETWORK...]
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F
from torch_networks import NETWORKS, Network

from support import curves

ADAMW = {"learning_rate": 0.01, "weight_decay": 0.1, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
EXPORTERS = (
    "torch-export",
    "torch-export-unoptimized",
    "torch-script",
    "torch-script-training",
)
UNWANTED = ("namespace", "pkg.torch.onnx.stack_trace", "pkg.torch.onnx.class_hierarchy")


def make_optimizer(name: str, parameters: Any, settings: dict[str, float]) -> Any:
    """The optimizer for settings as Optax names them."""
    rate = settings["learning_rate"]
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=settings["momentum"])
    betas = settings["b1"], settings["b2"]
    decay, eps = settings["weight_decay"], settings["eps"]
    return torch.optim.AdamW(parameters, lr=rate, betas=betas, eps=eps, weight_decay=decay)


def loss_of(name: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of a batch."""
    if name == "contrastive":
        own = torch.arange(len(outputs))
        return (F.cross_entropy(outputs, own) + F.cross_entropy(outputs.t(), own)) / 2
    if targets.ndim == outputs.ndim - 1 and targets.shape != (len(outputs), *outputs.shape[2:]):
        outputs, targets = outputs.flatten(0, -2), targets.flatten()
    return F.cross_entropy(outputs, targets)


def tensors(arrays: dict[str, np.ndarray], dtype: torch.dtype) -> dict[str, Tensor]:
    """Arrays as tensors, floats in a dtype."""
    made = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in made.items()}


def train(
    net: nn.Module,
    curve: dict[str, Any],
    name: str,
    settings: dict[str, float],
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Losses, and outputs in evaluation and running statistics afterwards."""
    net = copy.deepcopy(net).to(dtype).train()
    optimizer = make_optimizer(name, net.parameters(), settings)
    data = [(tensors(x, dtype), torch.from_numpy(y)) for x, y in curves.batches(curve)]
    losses = []
    for step in range(curves.STEPS):
        inputs, targets = data[step % len(data)]
        loss = loss_of(curve["loss"], net(*inputs.values()), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        outputs = net.eval()(*data[0][0].values())
    statistics = {k: v.tolist() for k, v in net.named_buffers() if "running_" in k}
    kept = curves.rounded(outputs.numpy())
    return {"losses": losses, "outputs": kept, "statistics": statistics}


def curve_of(net: nn.Module, network: Network) -> dict[str, Any]:
    """What PyTorch makes of a network: in double precision, and in single with 1 and 2 threads."""
    curve: dict[str, Any] = {"framework": f"torch {torch.__version__}", "seed": 0, "batches": 4}
    curve |= {"inputs": network.inputs, "targets": network.targets, "loss": network.loss}
    inputs = tensors(curves.batches(curve)[0][0], torch.float32)
    with torch.no_grad():
        curve["initial"] = curves.rounded(copy.deepcopy(net).eval()(*inputs.values()).numpy())
    sgd = {"learning_rate": network.learning_rate, "momentum": 0.9}
    for name, settings in (("sgd", sgd), ("adamw", ADAMW)):
        single = []
        for threads in (2, 1):
            torch.set_num_threads(threads)
            single.append(train(net, curve, name, settings, torch.float32)["losses"])
        band = float(np.abs(np.subtract(*single)).max())
        double = train(net, curve, name, settings, torch.float64)
        curve[name] = {"settings": settings, "float32": single[0], "band": band, **double}
    return curve


def clean(path: Path, net: nn.Module) -> None:
    """Undoes what depends on the machine, and what tracing did to the running statistics.

    Stack traces name the machine's folders; others repeat what stands elsewhere, and are long. A
    trace in training mode moves the statistics, from where training in PyTorch would start.
    """
    model = onnx.load(path)
    # Only where tensors have been merged do the nodes' texts tell more than names.
    unwanted = (*UNWANTED, "pkg.torch.onnx.fx_node") if "unoptimized" in str(path) else UNWANTED
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key not in unwanted]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        node.doc_string = ""
    state = net.state_dict()
    for tensor in model.graph.initializer:
        if "running_" in tensor.name:
            value = state[tensor.name].numpy()
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, path)


def export(net: nn.Module, network: Network, exporter: str, path: Path) -> None:
    """Writes a file; the batch's size is free."""
    traced = copy.deepcopy(net).eval()
    arrays = curves.batches({"seed": 0, "batches": 1, **vars(network)})[0][0]
    args = tuple(tensors(arrays, torch.float32).values())
    names = list(arrays)
    options: dict[str, Any] = {"input_names": names, "output_names": ["y"]}
    if exporter.startswith("torch-script"):
        options |= {"dynamo": False, "dynamic_axes": {name: {0: "batch"} for name in names}}
        if exporter.endswith("training"):
            mode = torch.onnx.TrainingMode.TRAINING
            options |= {"training": mode, "do_constant_folding": False}
    else:
        options["dynamic_shapes"] = tuple({0: torch.export.Dim("batch")} for _ in names)
        options["optimize"] = not exporter.endswith("unoptimized")
        options["external_data"] = False
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(traced, args, path, **options)
    clean(path, net)


def main(names: list[str]) -> None:
    """Writes the files and curves of networks."""
    warnings.simplefilter("ignore")
    for name in names or NETWORKS:
        network = NETWORKS[name]
        torch.manual_seed(0)
        net = network.make()
        for exporter in EXPORTERS:
            curves.write_file(exporter, name, partial(export, net, network, exporter))
        curves.write("torch", name, curve_of(net, network))


if __name__ == "__main__":
    main(sys.argv[1:])
