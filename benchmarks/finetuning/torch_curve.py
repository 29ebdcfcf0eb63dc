"""Loss curves of PyTorch, for a test that compares onnxla's with them.

Needs torch and onnx, and writes the model, the data and the losses to tests/train/torch_curve.json,
which tests/train/test_fit.py reads:

    python benchmarks/finetuning/torch_curve.py
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

TARGET = Path(__file__).parents[2] / "tests" / "train" / "torch_curve.json"
STEPS, BATCH = 60, 16


def make_model(rng: np.random.Generator) -> onnx.ModelProto:
    """p = Softmax(Relu(x @ w0 + b0) @ w1 + b1), with weights [out, in] as PyTorch has them."""
    tensors = {"w0": (32, 8), "b0": (32,), "w1": (3, 32), "b1": (3,)}
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) * 0.4).astype(np.float32), name)
        for name, shape in tensors.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["z"], transB=1),
        helper.make_node("Softmax", ["z"], ["p"]),
    ]
    ends = [helper.make_tensor_value_info(n, 1, ["N", s]) for n, s in (("x", 8), ("p", 3))]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class Network(torch.nn.Module):
    """The same network, with the weights of the file."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        for tensor in model.graph.initializer:
            value = torch.tensor(numpy_helper.to_array(tensor))
            self.register_parameter(tensor.name, torch.nn.Parameter(value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(torch.nn.functional.linear(x, self.w0, self.b0))
        return torch.nn.functional.linear(hidden, self.w1, self.b1)


def losses(model: onnx.ModelProto, x: np.ndarray, y: np.ndarray, order: list, name: str) -> list:
    network = Network(model)
    optimizer = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    }[name](network.parameters())
    found = []
    for rows in order:
        loss = torch.nn.functional.cross_entropy(
            network(torch.tensor(x[rows])), torch.tensor(y[rows])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def main() -> None:
    rng = np.random.default_rng(0)
    model = make_model(rng)
    x = rng.standard_normal((64, 8)).astype(np.float32)
    y = x[:, :3].argmax(1)
    order = [rng.choice(len(x), BATCH, replace=False).tolist() for _ in range(STEPS)]
    curves = {name: losses(model, x, y, order, name) for name in ("sgd", "adamw")}
    data = {
        "torch": torch.__version__,
        "model": base64.b64encode(model.SerializeToString()).decode(),
        "x": x.tolist(),
        "y": y.tolist(),
        "order": order,
        "losses": curves,
    }
    TARGET.write_text(json.dumps(data) + "\n")
    for name, curve in curves.items():
        print(f"{name}: {curve[0]:.6f} to {curve[-1]:.6f} in {len(curve)} steps")


if __name__ == "__main__":
    main()
