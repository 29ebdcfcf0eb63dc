"""The networks of `models.py` in PyTorch, eager: a training step whenever it is asked for.

`training.py` starts it, with a Python that has PyTorch:

    python benchmarks/torch_worker.py MODEL BATCH LENGTH [PRECISION STEPS]

With a precision (float32, tensorfloat32 or bfloat16) it is what `accelerator.py` compares with: on
a GPU, through `torch.compile`, several steps a run; bfloat16 is `torch.autocast`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker import serve


def conv(n: int, m: int, size: int = 1, stride: int = 1, group: int = 1) -> list[nn.Module]:
    """A convolution and its batch normalization."""
    made = nn.Conv2d(n, m, size, stride, size // 2, groups=group, bias=False)
    return [made, nn.BatchNorm2d(m)]


class Residual(nn.Module):
    """after(shortcut(x) + inner(x))."""

    def __init__(self, inner: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.inner, self.shortcut, self.after = inner, shortcut, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.inner(x) + self.shortcut(x))


def classifier(n: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 1000)]


def mobilenet_v2() -> nn.Module:
    parts, n = [*conv(3, 32, 3, 2), nn.ReLU6()], 32
    for expansion, m, repeats, first_stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for repeat in range(repeats):
            inner, stride = n * expansion, 1 if repeat else first_stride
            block = [*conv(n, inner), nn.ReLU6()] if expansion > 1 else []
            block += [*conv(inner, inner, 3, stride, inner), nn.ReLU6(), *conv(inner, m)]
            made: nn.Module = nn.Sequential(*block)
            if stride == 1 and n == m:
                made = Residual(made, nn.Identity(), nn.Identity())
            parts.append(made)
            n = m
    return nn.Sequential(*parts, *conv(n, 1280), nn.ReLU6(), *classifier(1280))


def resnet50() -> nn.Module:
    parts, n = [*conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for layer, repeats in enumerate((3, 4, 6, 3), 1):
        m = 32 * 2**layer
        for repeat in range(repeats):
            stride = 2 if layer > 1 and not repeat else 1
            block = [*conv(n, m), nn.ReLU(), *conv(m, m, 3, stride), nn.ReLU(), *conv(m, 4 * m)]
            shortcut = nn.Identity() if repeat else nn.Sequential(*conv(n, 4 * m, 1, stride))
            parts.append(Residual(nn.Sequential(*block), shortcut, nn.ReLU()))
            n = 4 * m
    return nn.Sequential(*parts, *classifier(n))


class Attention(nn.Module):
    def __init__(self, n: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(n, 3 * n), nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))


def mlp(n: int, gelu: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(n, 4 * n), gelu, nn.Linear(4 * n, n))


def pre_norm(n: int, epsilon: float, attention: nn.Module, gelu: nn.Module) -> nn.Module:
    """A block whose two parts read normalized values."""
    parts = (attention, mlp(n, gelu))
    normed = (nn.Sequential(nn.LayerNorm(n, epsilon), part) for part in parts)
    return nn.Sequential(*(Residual(part, nn.Identity(), nn.Identity()) for part in normed))


class VitSmall(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        n = 384
        self.patches = nn.Conv2d(3, n, 16, 16)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, n))
        self.places = nn.Parameter(0.02 * torch.randn(1, 197, n))
        blocks = (pre_norm(n, 1e-6, Attention(n, 6), nn.GELU()) for _ in range(12))
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(n, 1e-6))
        self.head = nn.Linear(n, 1000)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


class BertBase(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        n = 768
        self.words, self.places = nn.Embedding(30522, n), nn.Embedding(512, n)
        self.types, self.norm = nn.Embedding(2, n), nn.LayerNorm(n, 1e-12)
        parts = (part for _ in range(12) for part in (Attention(n, 12), mlp(n, nn.GELU())))
        normed = (Residual(part, nn.Identity(), nn.LayerNorm(n, 1e-12)) for part in parts)
        self.blocks, self.pooler = nn.Sequential(*normed), nn.Linear(n, n)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.types(torch.zeros_like(ids))
        x = self.blocks(self.norm(x + self.places(torch.arange(ids.shape[1], device=ids.device))))
        return torch.tanh(self.pooler(x[:, 0]))


class Gpt2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        n = 768
        self.words, self.places = nn.Embedding(50257, n), nn.Embedding(1024, n)
        nn.init.normal_(self.words.weight, std=0.02)
        blocks = (
            pre_norm(n, 1e-5, Attention(n, 12, causal=True), nn.GELU("tanh")) for _ in range(12)
        )
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(n, 1e-5))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.blocks(
            self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        )
        return x @ self.words.weight.T


NETWORKS = {
    "mobilenet_v2": mobilenet_v2,
    "resnet50": resnet50,
    "vit_small": VitSmall,
    "bert_base": BertBase,
    "gpt2": Gpt2,
}


def make_step(name: str, batch: int, length: int) -> Callable[[], object]:
    """A training step on random data, the first of which is done."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    x = torch.randint(30_000, (batch, length)) if length else torch.randn(batch, 3, 224, 224)
    logits = network(x)
    targets = torch.randint(logits.shape[-1], logits.shape[:-1])
    del logits

    def step() -> None:
        loss = F.cross_entropy(network(x).flatten(0, -2), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    return step


def make_compiled_steps(
    name: str, batch: int, length: int, precision: str, count: int
) -> Callable[[], None]:
    """`count` training steps on a GPU."""
    torch.manual_seed(0)
    torch.set_default_device("cuda")
    exact = precision == "float32"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    network = NETWORKS[name]()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    x = torch.randint(30_000, (batch, length)) if length else torch.randn(batch, 3, 224, 224)
    with torch.no_grad():
        logits = network(x)
    targets = torch.randint(logits.shape[-1], logits.shape[:-1])
    del logits

    @torch.compile
    def loss_of(x: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(network(x).flatten(0, -2), targets.flatten())

    def steps() -> None:
        for _ in range(count):
            mixed = precision == "bfloat16"
            with torch.autocast("cuda", torch.bfloat16) if mixed else nullcontext():
                loss = loss_of(x, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.cuda.synchronize()

    return steps


if __name__ == "__main__":
    name, batch, length, *compiled = sys.argv[1:]
    sizes = int(batch), int(length)
    if compiled:
        precision, count = compiled
        serve(lambda: make_compiled_steps(name, *sizes, precision, int(count)))
    else:
        serve(lambda: make_step(name, *sizes))
