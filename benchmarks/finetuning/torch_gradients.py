"""Gradients of models that PyTorch exports, against PyTorch's own.

Needs PyTorch besides onnxla: pip install torch onnx onnxscript. For each of three small models, in
inference and in training, it prints the largest difference of a parameter's gradients as a share of
the largest element of PyTorch's.

    python benchmarks/finetuning/torch_gradients.py
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

import onnxla


class Tagger(nn.Module):
    """A label for each of the words of a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 5)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.head(self.lstm(self.embedding(words))[0]), -1)


class Block(nn.Module):
    """A layer of a transformer's encoder, normalized first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def convolutional() -> nn.Module:
    """Convolutions, one of them depthwise, with normalization, activations and pooling."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]] = {
    "convolutional": (convolutional, lambda: torch.randn(4, 3, 12, 12)),
    "transformer block": (Block, lambda: torch.randn(2, 7, 16)),
    "LSTM tagger": (Tagger, lambda: torch.randint(0, 20, (3, 7))),
}


def largest_error(name: str, dtype: torch.dtype, train: bool) -> tuple[float, int]:
    """The largest relative error of a gradient, and how many parameters were compared."""
    torch.manual_seed(0)
    make, sample = MODELS[name]
    model, x = make().to(dtype).eval(), sample()
    x = x.to(dtype) if x.is_floating_point() else x
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), optimize=False, verbose=False).save(file)
    module = onnxla.load(file.getvalue())

    model.train(train)
    y = model(x)
    target = torch.randn_like(y)
    ((y - target) ** 2).mean().backward()

    def loss(params: dict[str, jax.Array]) -> jax.Array:
        y = module.apply_train(params, x.numpy())[0] if train else module.apply(params, x.numpy())
        return jnp.mean((y - target.numpy()) ** 2)

    with jax.enable_x64(True):
        gradients = jax.jit(jax.grad(loss))(module.params)
    own = {name: p.grad.numpy() for name, p in model.named_parameters() if name in gradients}
    # What comes before a normalization by the batch has next to no gradient but rounding.
    sizes = {name: np.max(abs(grad)) for name, grad in own.items()}
    kept = [name for name, size in sizes.items() if size > max(sizes.values()) / 1000]
    errors = [np.max(abs(np.asarray(gradients[n]) - own[n])) / sizes[n] for n in kept]
    return max(errors), len(kept)


if __name__ == "__main__":
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for name in MODELS:
        for dtype in (torch.float32, torch.float64):
            for train in (False, True):
                error, count = largest_error(name, dtype, train)
                mode = "training" if train else "inference"
                print(f"{name}, {dtype}, {mode}: {error:.1e} of {count} parameters")
