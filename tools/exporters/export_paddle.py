"""Makes the files and curves of paddle2onnx, all or those of the networks named.

Needs paddlepaddle 3.3.1, paddle2onnx 2.1.0 and onnx 1.17.0, and no onnxla. It has no GroupNorm, of
which paddle2onnx writes another epsilon, and no SimpleRNN, whose node it leaves out:

    PYTHONPATH=tests python tools/exporters/export_paddle.py [NETWORK...]
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import paddle
from paddle import nn

from support import curves

CLASSES = 4
SETTINGS = {
    # Paddle has both in single precision, in which these are exact.
    "sgd": {"learning_rate": 0.0625, "momentum": 0.875},
    "adamw": {"learning_rate": 0.01, "weight_decay": 0.1, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda parameters: paddle.optimizer.Momentum(0.0625, 0.875, parameters),
    "adamw": lambda parameters: paddle.optimizer.AdamW(
        0.01, parameters=parameters, weight_decay=0.1
    ),
}


def cnn() -> nn.Layer:
    """Convolutions with BatchNorm after each."""
    return nn.Sequential(
        nn.Conv2D(3, 8, 3, padding=1, bias_attr=False),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.Conv2D(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )


def mlp() -> nn.Layer:
    """Two layers with BatchNorm after each."""
    return nn.Sequential(
        nn.Linear(6, 16),
        nn.BatchNorm1D(16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.BatchNorm1D(16),
        nn.ReLU(),
        nn.Linear(16, CLASSES),
    )


def mobilenet() -> nn.Layer:
    """A convolution by channels between two of single pixels, with hard activations."""
    return nn.Sequential(
        nn.Conv2D(3, 8, 1, bias_attr=False),
        nn.BatchNorm2D(8),
        nn.Hardswish(),
        nn.Conv2D(8, 8, 3, stride=2, padding=1, groups=8, bias_attr=False),
        nn.BatchNorm2D(8),
        nn.Hardswish(),
        nn.Conv2D(8, 8, 1, bias_attr=False),
        nn.BatchNorm2D(8),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )


class Attention(nn.Layer):
    """A sequence's class by attention, with LayerNorm last."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiHeadAttention(16, 2)
        self.embed = nn.Linear(5, 16)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Any) -> Any:
        """Logits of [N, T, 5]."""
        x = self.embed(x)
        return self.head(self.norm(x + self.attention(x)).mean(1))


class Resnet(nn.Layer):
    """A residual block with BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2D(3, 8, 3, padding=1), nn.BatchNorm2D(8), nn.ReLU())
        self.conv1 = nn.Conv2D(8, 8, 3, padding=1, bias_attr=False)
        self.norm1 = nn.BatchNorm2D(8)
        self.conv2 = nn.Conv2D(8, 8, 3, padding=1, bias_attr=False)
        self.norm2 = nn.BatchNorm2D(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        """Logits of images [N, 3, 8, 8]."""
        x = self.stem(x)
        y = nn.functional.relu(self.norm1(self.conv1(x)))
        return self.head(nn.functional.relu(x + self.norm2(self.conv2(y))).mean((2, 3)))


class Recurrent(nn.Layer):
    """A sequence's class by the mean of the outputs."""

    def __init__(self, layer: Callable[..., nn.Layer]) -> None:
        super().__init__()
        self.rnn = layer(5, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        """Logits of [N, T, 5]."""
        return self.head(self.rnn(x)[0].mean(1))


class Encoder(nn.Layer):
    """Paddle's own encoder, whose layers are copies of one, with values of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, ids: Any) -> Any:
        """Logits of ids [N, T]."""
        return self.head(self.encoder(self.embedding(ids)).mean(1))


@dataclass(frozen=True)
class Network:
    """A network, and its input."""

    make: Callable[[], nn.Layer]
    shape: tuple[int, ...]
    below: int | None = None


NETWORKS = {
    "cnn": Network(cnn, (3, 8, 8)),
    "lstm": Network(lambda: Recurrent(nn.LSTM), (6, 5)),
    "gru": Network(lambda: Recurrent(nn.GRU), (6, 5)),
    "encoder": Network(Encoder, (6,), 20),
    "mlp": Network(mlp, (6,)),
    "resnet": Network(Resnet, (3, 8, 8)),
    "mobilenet": Network(mobilenet, (3, 8, 8)),
    "attention": Network(Attention, (6, 5)),
}


def train(net: nn.Layer, network: Network, curve: dict[str, Any], name: str, dtype: str) -> Any:
    """Losses, and outputs in evaluation and running statistics afterwards."""
    paddle.set_default_dtype(dtype)
    wide = network.make()
    wide.set_state_dict({k: v.astype(dtype) for k, v in net.state_dict().items()})
    wide.train()
    optimizer = OPTIMIZERS[name](wide.parameters())
    data = [(tensor(x["x"], dtype), paddle.to_tensor(y)) for x, y in curves.batches(curve)]
    losses = []
    for number in range(curves.STEPS):
        inputs, targets = data[number % len(data)]
        loss = nn.functional.cross_entropy(wide(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    wide.eval()
    outputs = curves.rounded(wide(data[0][0]).numpy())
    paddle.set_default_dtype("float32")
    buffers = {k: v.numpy().tolist() for k, v in wide.state_dict().items()}
    statistics = {k: v for k, v in buffers.items() if k.endswith(("_mean", "_variance"))}
    return {"losses": losses, "outputs": outputs, "statistics": statistics}


def tensor(array: np.ndarray, dtype: str) -> Any:
    """An array as a tensor, floats in a dtype."""
    return paddle.to_tensor(array.astype(dtype) if array.dtype.kind == "f" else array)


def curve_of(net: nn.Layer, network: Network) -> dict[str, Any]:
    """What Paddle makes of a network, in double precision and in single."""
    curve: dict[str, Any] = {"framework": f"paddle {paddle.__version__}", "seed": 0, "batches": 4}
    entry = {"shape": [8, *network.shape], "below": network.below}
    curve |= {"inputs": {"x": entry}, "targets": {"shape": [8], "below": CLASSES}}
    curve["loss"] = "cross_entropy"
    inputs = tensor(curves.batches(curve)[0][0]["x"], "float32")
    curve["initial"] = curves.rounded(net(inputs).numpy())
    for name, settings in SETTINGS.items():
        single = train(net, network, curve, name, "float32")["losses"]
        double = train(net, network, curve, name, "float64")
        curve[name] = {"settings": settings, "float32": single, "band": 0.0, **double}
    return curve


def export(net: nn.Layer, network: Network, path: Path) -> None:
    """Writes a file; the batch's size is free."""
    kind = "float32" if network.below is None else "int64"
    spec = [paddle.static.InputSpec([None, *network.shape], kind, "x")]
    with tempfile.TemporaryDirectory() as folder:
        paddle.onnx.export(copy.deepcopy(net), f"{folder}/net", input_spec=spec, opset_version=17)
        onnx.save(onnx.load(f"{folder}/net.onnx"), path)


def main(names: list[str]) -> None:
    """Writes the files and curves of networks."""
    for name in names or NETWORKS:
        network = NETWORKS[name]
        paddle.seed(0)
        net = network.make()
        net.eval()
        curves.write_file("paddle-paddle2onnx", name, partial(export, net, network))
        curves.write("paddle", name, curve_of(net, network))


if __name__ == "__main__":
    main(sys.argv[1:])
