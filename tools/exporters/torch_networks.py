"""Small networks in PyTorch, with its fresh initial values, whose like people train.

Each kind has something that exporters write in ways of their own: a layer that is called twice,
tensors that are equal at first, normalizations without parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

CLASSES = 4


def conv_bn(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution 3x3, as in ResNet without a bias, its normalization and ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def pooled(channels: int) -> nn.Sequential:
    """A classifier of an image's features."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def mlp() -> nn.Module:
    """Linear layers with BatchNorm between them."""
    return nn.Sequential(
        nn.Linear(8, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.0),
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, CLASSES),
    )


class BasicBlock(nn.Module):
    """ResNet's block of two convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride > 1:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The block's features added to what came in."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def resnet() -> nn.Module:
    """A stem and two stages."""
    blocks = BasicBlock(8, 8, 1), BasicBlock(8, 16, 2)
    return nn.Sequential(conv_bn(3, 8), nn.MaxPool2d(2), *blocks, pooled(16))


class InvertedResidual(nn.Module):
    """MobileNet's block: wide, depthwise, narrow."""

    def __init__(self, channels: int, expand: int) -> None:
        super().__init__()
        wide = channels * expand
        self.conv = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block's features added to what came in."""
        return x + self.conv(x)


def mobilenet() -> nn.Module:
    """A stem and two inverted residuals."""
    blocks = InvertedResidual(8, 3), InvertedResidual(8, 3)
    return nn.Sequential(conv_bn(3, 8, stride=2), *blocks, pooled(8))


class Block(nn.Module):
    """A transformer's layer with the normalizations first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, T, width]."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches with a class token, which is zero at first as torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.positions = nn.Parameter(torch.empty(1, 17, 16).normal_(std=0.02))
        self.blocks = nn.Sequential(Block(16))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images [N, 3, 16, 16]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class SelfAttention(nn.Module):
    """Attention from three linear layers and a bias of the scores, as BERT and GPT have it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Features [N, T, width]; bias [..., T, T]."""
        n, t, width = x.shape
        q, k, v = (
            layer(x).view(n, t, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5 + bias
        return self.output((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, width))


class BertLayer(nn.Module):
    """A transformer's layer with the normalizations last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, 2)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.intermediate = nn.Linear(width, 32)
        self.output = nn.Linear(32, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Features [N, T, width]."""
        x = self.norm1(x + self.attention(x, bias))
        return self.norm2(x + self.output(F.gelu(self.intermediate(x))))


class Bert(nn.Module):
    """A classifier of token ids, with token types and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(30, 16)
        self.position_embeddings = nn.Embedding(12, 16)
        self.token_type_embeddings = nn.Embedding(2, 16)
        self.register_buffer("position_ids", torch.arange(12).expand(1, -1), persistent=False)
        self.norm = nn.LayerNorm(16, eps=1e-12)
        self.layers = nn.ModuleList([BertLayer(16)])
        self.pooler = nn.Linear(16, 16)
        self.classifier = nn.Linear(16, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits of three arrays [N, T]."""
        x = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        x = self.norm(x + self.position_embeddings(self.position_ids[:, : input_ids.shape[1]]))
        bias = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * -10000.0
        for layer in self.layers:
            x = layer(x, bias)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


def padding() -> nn.Module:
    """An embedding that never learns the padding's vector."""
    layers = nn.Embedding(30, 8, padding_idx=0), nn.Flatten(), nn.Linear(48, CLASSES)
    return nn.Sequential(*layers)


class GptBlock(nn.Module):
    """A decoder's layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 32)
        self.c_out = nn.Linear(32, width)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, T, width]."""
        n, t, width = x.shape
        qkv = self.c_attn(self.ln_1(x)).view(n, t, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(n, t, width))
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """A language model whose head is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(30, 16)
        self.wpe = nn.Embedding(12, 16)
        self.h = nn.ModuleList([GptBlock(16)])
        self.ln_f = nn.LayerNorm(16)
        self.lm_head = nn.Linear(16, 30, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits [N, T, 30] of ids [N, T]."""
        x = self.wte(input_ids) + self.wpe(torch.arange(input_ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class Tagger(nn.Module):
    """A tag for each token, by a bidirectional LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.lstm = nn.LSTM(8, 8, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(16, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [N, T, classes] of ids [N, T]."""
        return self.tags(self.lstm(self.embedding(ids))[0])


class Gru(nn.Module):
    """A classifier of a sequence by the last state of a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 12, num_layers=2, batch_first=True)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of [N, T, 6]."""
        return self.head(self.gru(x)[1][-1])


class UNet(nn.Module):
    """A class for each pixel: down, up by a transposed convolution and by interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = conv_bn(3, 4)
        self.down2 = conv_bn(4, 8)
        self.middle = conv_bn(8, 8)
        self.up2 = nn.ConvTranspose2d(8, 8, 2, 2)
        self.merge2 = conv_bn(16, 8)
        self.up1 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.merge1 = conv_bn(12, 4)
        self.head = nn.Conv2d(4, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes, 16, 16] of images [N, 3, 16, 16]."""
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        y = self.middle(F.max_pool2d(two, 2))
        y = self.merge2(torch.cat([self.up2(y), two], 1))
        return self.head(self.merge1(torch.cat([self.up1(y), one], 1)))


def normalized(*norms: nn.Module) -> nn.Module:
    """Convolutions 8 wide, with a normalization after each."""
    layers: list[nn.Module] = []
    for i, norm in enumerate(norms):
        layers += [nn.Conv2d(8 if i else 3, 8, 3, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, CLASSES))


def group_norm() -> nn.Module:
    """As many groups as in practice, one group, and a group a channel."""
    return normalized(nn.GroupNorm(2, 8), nn.GroupNorm(1, 8), nn.GroupNorm(8, 8))


def instance_norm() -> nn.Module:
    """Learned scales and biases."""
    return normalized(nn.InstanceNorm2d(8, affine=True), nn.InstanceNorm2d(8, affine=True))


def plain_norms() -> nn.Module:
    """Normalizations that have nothing to learn."""
    return normalized(
        nn.BatchNorm2d(8, affine=False),
        nn.GroupNorm(2, 8, affine=False),
        nn.InstanceNorm2d(8),
        nn.LayerNorm([8, 8, 8], elementwise_affine=False),
    )


class Siamese(nn.Module):
    """Whether two inputs are alike: one encoder, called twice."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 6)
        self.encoder = nn.Sequential(*layers, nn.BatchNorm1d(6))
        self.head = nn.Linear(6, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits of two arrays [N, 8]."""
        return self.head((self.encoder(a) - self.encoder(b)).abs())


def weight_norm() -> nn.Module:
    """Weights as a length and a direction."""
    first = parametrizations.weight_norm(nn.Linear(8, 16))
    return nn.Sequential(first, nn.Tanh(), parametrizations.weight_norm(nn.Linear(16, CLASSES)))


def spectral_norm() -> nn.Module:
    """Weights divided by their largest singular value, which training estimates anew."""
    first = parametrizations.spectral_norm(nn.Linear(8, 16))
    return nn.Sequential(first, nn.Tanh(), parametrizations.spectral_norm(nn.Linear(16, CLASSES)))


class Encoder(nn.Module):
    """PyTorch's own encoder, whose layers are copies of one: equal at first."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of [N, T, 6]."""
        return self.head(self.encoder(self.embedding(x)).mean(1))


class Clip(nn.Module):
    """Images and texts as directions, compared under a learned temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(conv_bn(3, 8, stride=2), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.visual_projection = nn.Linear(32, 8, bias=False)
        self.token_embedding = nn.Embedding(30, 16)
        self.norm = nn.LayerNorm(16)
        self.text_projection = nn.Linear(16, 8, bias=False)
        self.logit_scale = nn.Parameter(torch.ones([]) * torch.log(torch.tensor(1 / 0.07)))

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        """Similarities [N, N] of images [N, 3, 8, 8] and texts [N, T]."""
        i = self.visual_projection(self.visual(image))
        t = self.text_projection(self.norm(self.token_embedding(ids)).mean(1))
        i, t = (v / v.norm(dim=-1, keepdim=True) for v in (i, t))
        return self.logit_scale.exp() * i @ t.t()


class RmsNorm(nn.Module):
    """Llama's and Mamba's normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., width]."""
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


class Mamba(nn.Module):
    """A selective state space layer, whose scan is a loop over the sequence."""

    def __init__(self, width: int = 8, inner: int = 12, state: int = 4) -> None:
        super().__init__()
        self.state = state
        self.norm = RmsNorm(width)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.x_proj = nn.Linear(inner, 2 + 2 * state, bias=False)
        self.dt_proj = nn.Linear(2, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).repeat(inner, 1).log())
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, T, width]."""
        t = x.shape[1]
        y, gate = self.in_proj(self.norm(x)).chunk(2, -1)
        y = F.silu(self.conv1d(y.transpose(1, 2))[..., :t].transpose(1, 2))
        dt, b, c = self.x_proj(y).split([2, self.state, self.state], -1)
        dt = F.softplus(self.dt_proj(dt))
        decay = torch.exp(dt[..., None] * -torch.exp(self.A_log))
        drive = (dt * y)[..., None] * b[:, :, None]
        h, outputs = torch.zeros_like(drive[:, 0]), []
        for i in range(t):
            h = decay[:, i] * h + drive[:, i]
            outputs.append((h * c[:, i, None]).sum(-1))
        y = (torch.stack(outputs, 1) + y * self.D) * F.silu(gate)
        return x + self.out_proj(y)


def mamba() -> nn.Module:
    """A tag for each token."""
    head = nn.Linear(8, CLASSES, bias=False)
    return nn.Sequential(nn.Embedding(30, 8), Mamba(), RmsNorm(8), head)


IMAGES: dict[str, Any] = {"x": {"shape": [8, 3, 16, 16]}}
SMALL_IMAGES: dict[str, Any] = {"x": {"shape": [8, 3, 8, 8]}}
ROWS: dict[str, Any] = {"x": {"shape": [8, 8]}}
SERIES: dict[str, Any] = {"x": {"shape": [8, 10, 6]}}
IDS: dict[str, Any] = {"ids": {"shape": [8, 6], "below": 30}}
LABELS: dict[str, Any] = {"shape": [8], "below": CLASSES}
TAGS: dict[str, Any] = {"shape": [8, 6], "below": CLASSES}


@dataclass(frozen=True)
class Network:
    """A network with what it is trained on: inputs by name, targets, loss."""

    make: Callable[[], nn.Module]
    inputs: dict[str, Any]
    targets: dict[str, Any] = field(default_factory=lambda: LABELS)
    loss: str = "cross_entropy"
    learning_rate: float = 0.05  # of SGD


NETWORKS = {
    "mlp": Network(mlp, ROWS),
    "resnet": Network(resnet, IMAGES),
    "mobilenet": Network(mobilenet, IMAGES),
    "vit": Network(ViT, IMAGES, learning_rate=0.01),
    "bert": Network(
        Bert,
        {
            "input_ids": {"shape": [8, 12], "below": 30},
            "attention_mask": {"shape": [8, 12], "below": 2},
            "token_type_ids": {"shape": [8, 12], "below": 2},
        },
    ),
    "gpt": Network(
        Gpt, {"input_ids": {"shape": [8, 12], "below": 30}}, {"shape": [8, 12], "below": 30}
    ),
    "lstm_tagger": Network(Tagger, IDS, TAGS),
    "gru": Network(Gru, SERIES),
    "unet": Network(UNet, SMALL_IMAGES, {"shape": [8, 8, 8], "below": CLASSES}),
    "group_norm": Network(group_norm, SMALL_IMAGES),
    "instance_norm": Network(instance_norm, SMALL_IMAGES),
    "plain_norms": Network(plain_norms, SMALL_IMAGES),
    "siamese": Network(
        Siamese, {"a": {"shape": [8, 8]}, "b": {"shape": [8, 8]}}, {"shape": [8], "below": 2}
    ),
    "weight_norm": Network(weight_norm, ROWS),
    "spectral_norm": Network(spectral_norm, ROWS),
    "transformer_encoder": Network(Encoder, SERIES),
    "clip": Network(
        Clip,
        {"image": {"shape": [8, 3, 8, 8]}, "ids": {"shape": [8, 10], "below": 30}},
        loss="contrastive",
    ),
    "padding": Network(padding, IDS),
    "mamba": Network(mamba, IDS, TAGS),
}
