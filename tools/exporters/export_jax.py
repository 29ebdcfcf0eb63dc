"""Makes the files and curves of jax2onnx, all or those of the networks named.

Needs jax 0.10.2, flax 0.12.8, optax 0.2.8, jax2onnx 0.17.1 and onnx 1.23.2, and no onnxla:

    PYTHONPATH=tests python tools/exporters/export_jax.py [NETWORK...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
from flax import nnx
from jax2onnx import to_onnx

from support import curves

CLASSES = 4
SETTINGS = {
    "sgd": {"learning_rate": 0.05, "momentum": 0.9},
    "adamw": {"learning_rate": 0.01, "weight_decay": 0.1, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
}
OPTIMIZERS = {"sgd": optax.sgd(**SETTINGS["sgd"]), "adamw": optax.adamw(**SETTINGS["adamw"])}


class Cnn(nnx.Module):
    """Two convolutions with BatchNorm after each."""

    def __init__(self, **options: Any) -> None:
        self.conv1 = nnx.Conv(3, 8, (3, 3), use_bias=False, **options)
        self.norm1 = nnx.BatchNorm(8, momentum=0.9, **options)
        self.conv2 = nnx.Conv(8, 8, (3, 3), strides=2, **options)
        self.norm2 = nnx.BatchNorm(8, momentum=0.9, **options)
        self.head = nnx.Linear(8, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        """Logits of images [N, 8, 8, 3]."""
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        return self.head(x.mean((1, 2)))


class Mlp(nnx.Module):
    """Two layers with BatchNorm after each."""

    def __init__(self, **options: Any) -> None:
        self.wide = nnx.Linear(6, 16, **options)
        self.norm1 = nnx.BatchNorm(16, momentum=0.9, **options)
        self.narrow = nnx.Linear(16, 16, use_bias=False, **options)
        self.norm2 = nnx.BatchNorm(16, momentum=0.9, **options)
        self.head = nnx.Linear(16, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        """Logits of [N, 6]."""
        x = nnx.relu(self.norm1(self.wide(x)))
        return self.head(nnx.relu(self.norm2(self.narrow(x))))


class Resnet(nnx.Module):
    """A residual block with BatchNorm."""

    def __init__(self, **options: Any) -> None:
        self.stem = nnx.Conv(3, 8, (3, 3), use_bias=False, **options)
        self.norm = nnx.BatchNorm(8, momentum=0.9, **options)
        self.conv1 = nnx.Conv(8, 8, (3, 3), use_bias=False, **options)
        self.norm1 = nnx.BatchNorm(8, momentum=0.9, **options)
        self.conv2 = nnx.Conv(8, 8, (3, 3), use_bias=False, **options)
        self.norm2 = nnx.BatchNorm(8, momentum=0.9, **options)
        self.head = nnx.Linear(8, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        """Logits of images [N, 8, 8, 3]."""
        x = nnx.relu(self.norm(self.stem(x)))
        y = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(x + self.norm2(self.conv2(y)))
        return self.head(x.mean((1, 2)))


class GroupNorm(nnx.Module):
    """Two groups, and one."""

    def __init__(self, **options: Any) -> None:
        self.conv1 = nnx.Conv(3, 8, (3, 3), **options)
        self.norm1 = nnx.GroupNorm(8, 2, **options)
        self.conv2 = nnx.Conv(8, 8, (3, 3), strides=2, **options)
        self.norm2 = nnx.GroupNorm(8, 1, **options)
        self.head = nnx.Linear(8, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        """Logits of images [N, 8, 8, 3]."""
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        return self.head(x.mean((1, 2)))


class RmsNorm(nnx.Module):
    """A gated layer between normalizations by length, as decoders have it."""

    def __init__(self, **options: Any) -> None:
        self.embed = nnx.Embed(20, 16, **options)
        self.norm1 = nnx.RMSNorm(16, **options)
        self.gate = nnx.Linear(16, 32, use_bias=False, **options)
        self.wide = nnx.Linear(16, 32, use_bias=False, **options)
        self.narrow = nnx.Linear(32, 16, use_bias=False, **options)
        self.norm2 = nnx.RMSNorm(16, **options)
        self.head = nnx.Linear(16, CLASSES, use_bias=False, **options)

    def __call__(self, ids: Any) -> Any:
        """Logits of ids [N, T]."""
        x = self.embed(ids)
        y = self.norm1(x)
        x = x + self.narrow(nnx.silu(self.gate(y)) * self.wide(y))
        return self.head(self.norm2(x).mean(1))


class Recurrent(nnx.Module):
    """A sequence's class by the last state."""

    def __init__(self, cell: Callable[..., Any], **options: Any) -> None:
        self.cell = cell(5, 8, **options)
        self.states = 2 if cell is nnx.LSTMCell else 1
        self.head = nnx.Linear(8, CLASSES, **options)

    def __call__(self, x: Any) -> Any:
        """Logits of [N, T, 5]."""
        zeros = jnp.zeros((x.shape[0], 8), x.dtype)
        carry = (zeros, zeros) if self.states == 2 else zeros
        # What jax2onnx traces cannot be nnx.RNN.
        _, states = jax.lax.scan(lambda c, e: self.cell(c, e), carry, jnp.swapaxes(x, 0, 1))
        return self.head(states[-1])


class Encoder(nnx.Module):
    """A transformer's layer."""

    def __init__(self, **options: Any) -> None:
        self.embed = nnx.Embed(20, 16, **options)
        self.norm1 = nnx.LayerNorm(16, **options)
        self.attention = nnx.MultiHeadAttention(2, 16, decode=False, **options)
        self.norm2 = nnx.LayerNorm(16, **options)
        self.wide = nnx.Linear(16, 32, **options)
        self.narrow = nnx.Linear(32, 16, **options)
        self.norm3 = nnx.LayerNorm(16, **options)
        self.head = nnx.Linear(16, CLASSES, **options)

    def __call__(self, ids: Any) -> Any:
        """Logits of ids [N, T]."""
        x = self.embed(ids)
        x = x + self.attention(self.norm1(x), deterministic=True)
        x = x + self.narrow(nnx.gelu(self.wide(self.norm2(x))))
        return self.head(self.norm3(x).mean(1))


@dataclass(frozen=True)
class Network:
    """A network, and its input."""

    build: Callable[..., nnx.Module]
    shape: tuple[int, ...]
    below: int | None = None

    def make(self, dtype: Any) -> nnx.Module:
        """The network with fresh values."""
        return self.build(rngs=nnx.Rngs(0), param_dtype=dtype)


NETWORKS = {
    "cnn": Network(Cnn, (8, 8, 3)),
    "lstm": Network(lambda **options: Recurrent(nnx.LSTMCell, **options), (6, 5)),
    "gru": Network(lambda **options: Recurrent(nnx.GRUCell, **options), (6, 5)),
    "encoder": Network(Encoder, (6,), 20),
    "mlp": Network(Mlp, (6,)),
    "resnet": Network(Resnet, (8, 8, 3)),
    "group_norm": Network(GroupNorm, (8, 8, 3)),
    "rms_norm": Network(RmsNorm, (6,), 20),
}


def train(net: nnx.Module, network: Network, curve: dict[str, Any], name: str) -> dict[str, Any]:
    """Losses, and outputs in evaluation afterwards, as wide as JAX is at the moment."""
    dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    wide = network.make(dtype)
    convert = lambda a: jnp.asarray(a, dtype if a.dtype == jnp.float32 else a.dtype)  # noqa: E731
    _, params, stats, _ = nnx.split(net, nnx.Param, nnx.BatchStat, ...)
    graph, _, _, rest = nnx.split(wide, nnx.Param, nnx.BatchStat, ...)
    params, stats = jax.tree.map(convert, (params, stats))
    state = OPTIMIZERS[name].init(params)

    def loss(params: Any, stats: Any, x: Any, y: Any) -> Any:
        model = nnx.merge(graph, params, stats, rest, copy=True)
        model.train()
        value = optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()
        return value, nnx.split(model, nnx.Param, nnx.BatchStat, ...)[2]

    @jax.jit
    def step(params: Any, stats: Any, state: Any, x: Any, y: Any) -> Any:
        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params, stats, x, y)
        changes, state = OPTIMIZERS[name].update(gradient, state, params)
        return optax.apply_updates(params, changes), stats, state, value

    data = [(convert(x["x"]), jnp.asarray(y)) for x, y in curves.batches(curve)]
    losses = []
    for number in range(curves.STEPS):
        params, stats, state, value = step(params, stats, state, *data[number % len(data)])
        losses.append(float(value))
    model = nnx.merge(graph, params, stats, rest, copy=True)
    model.eval()
    return {
        "losses": losses,
        "outputs": curves.rounded(np.asarray(model(data[0][0]))),
        "statistics": {},
    }


def curve_of(net: nnx.Module, network: Network) -> dict[str, Any]:
    """What JAX makes of a network, in double precision and in single."""
    curve: dict[str, Any] = {"framework": f"flax {flax.__version__}", "seed": 0, "batches": 4}
    entry = {"shape": [8, *network.shape], "below": network.below}
    curve |= {"inputs": {"x": entry}, "targets": {"shape": [8], "below": CLASSES}}
    curve["loss"] = "cross_entropy"
    net.eval()
    curve["initial"] = curves.rounded(np.asarray(net(curves.batches(curve)[0][0]["x"])))
    for name, settings in SETTINGS.items():
        single = train(net, network, curve, name)["losses"]
        with jax.enable_x64(True):
            double = train(net, network, curve, name)
        curve[name] = {"settings": settings, "float32": single, "band": 0.0, **double}
    return curve


def main(names: list[str]) -> None:
    """Writes the files and curves of networks."""
    for name in names or NETWORKS:
        network = NETWORKS[name]
        net = network.make(jnp.float32)
        net.eval()
        path = curves.FOLDER / "files" / "jax-jax2onnx" / f"{name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = jnp.float32 if network.below is None else jnp.int32
        try:
            dynamic = jax.export.symbolic_shape("batch, " + ", ".join(map(str, network.shape)))
            onnx.save(to_onnx(net, [jax.ShapeDtypeStruct(dynamic, kind)]), path)
        except Exception as error:  # some layers need the batch's size
            print(name, type(error).__name__, str(error)[:300])
            onnx.save(to_onnx(net, [jax.ShapeDtypeStruct((8, *network.shape), kind)]), path)
        print(name, path.stat().st_size, flush=True)
        curves.write("jax", name, curve_of(net, network))


if __name__ == "__main__":
    main(sys.argv[1:])
