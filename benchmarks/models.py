"""Well-known networks as ONNX models with random weights, for the benchmarks.

Configurations are the published ones; graphs are as PyTorch's exporter writes them: weights of
MatMul transposed and called `val_N`, attention spelled out as MatMul, Softmax, MatMul, and Gelu by
Erf. The first axis of each input and output is the batch.

    python benchmarks/models.py FOLDER
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BATCH = "batch"
SEQUENCE = "sequence"


class Network:
    """A graph that is written node by node; values are names."""

    def __init__(self, *, spelled_out: bool = False) -> None:
        """An empty graph, in which LayerNormalization and BatchNormalization may be spelled out."""
        self.spelled_out = spelled_out
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}
        self.rng = np.random.default_rng(0)
        self.numbers = count()

    def tensor(self, array: Any, name: str = "") -> str:
        """A constant."""
        name = name or f"val_{next(self.numbers)}"
        self.tensors[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def weight(self, name: str, *shape: int, scale: float = 0.02) -> str:
        """Normally distributed numbers."""
        numbers = self.rng.standard_normal(shape, np.float32)
        numbers *= np.float32(scale)
        return self.tensor(numbers, name)

    def node(self, op_type: str, *inputs: str, outputs: int = 0, **attributes: Any) -> Any:
        """The output of a new node, or several."""
        number = next(self.numbers)
        names = [f"{op_type.lower()}_{number}_{i}" for i in range(max(outputs, 1))]
        made = helper.make_node(op_type, inputs, names, f"node_{op_type}_{number}", **attributes)
        self.nodes.append(made)
        return names if outputs else names[0]

    def reshape(self, x: str, *shape: int) -> str:
        """`x` in another shape, in which 0 is the size that is there, and -1 what remains."""
        return self.node("Reshape", x, self.tensor(np.array(shape, np.int64)))

    def linear(self, x: str, name: str, n: int, m: int) -> str:
        """A linear layer of n inputs and m outputs, on the last of several axes."""
        product = self.node("MatMul", x, self.weight("", n, m))
        return self.node("Add", product, self.weight(f"{name}.bias", m))

    def gemm(self, x: str, name: str, n: int, m: int, *, transposed: bool = True) -> str:
        """A linear layer of a matrix."""
        weight = self.weight(f"{name}.weight", *((m, n) if transposed else (n, m)))
        bias = self.weight(f"{name}.bias", m)
        return self.node("Gemm", x, weight, bias, transB=int(transposed))

    def layer_norm(self, x: str, name: str, n: int, epsilon: float) -> str:
        """A layer normalization of the last axis."""
        scale = self.tensor(1 + 0.1 * self.rng.standard_normal(n, np.float32), f"{name}.weight")
        bias = self.weight(f"{name}.bias", n)
        if not self.spelled_out:
            return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)
        centred = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        square = self.node("Pow", centred, self.tensor(np.float32(2)))
        variance = self.node("ReduceMean", square, axes=[-1])
        root = self.node("Sqrt", self.node("Add", variance, self.tensor(np.float32(epsilon))))
        return self.node("Add", self.node("Mul", self.node("Div", centred, root), scale), bias)

    def gelu(self, x: str) -> str:
        """Gelu, by Erf."""
        erf = self.node("Erf", self.node("Div", x, self.tensor(np.float32(math.sqrt(2)))))
        double = self.node("Mul", x, self.node("Add", erf, self.tensor(np.float32(1))))
        return self.node("Mul", double, self.tensor(np.float32(0.5)))

    def gelu_by_tanh(self, x: str) -> str:
        """Gelu as GPT-2 has it, approximately by Tanh."""
        cube = self.node("Pow", x, self.tensor(np.float32(3)))
        inner = self.node("Add", x, self.node("Mul", cube, self.tensor(np.float32(0.044715))))
        root = self.tensor(np.float32(math.sqrt(2 / math.pi)))
        tanh = self.node("Tanh", self.node("Mul", inner, root))
        half = self.node("Mul", x, self.tensor(np.float32(0.5)))
        return self.node("Mul", half, self.node("Add", tanh, self.tensor(np.float32(1))))

    def attention(
        self, queries: str, keys: str, values: str, size: int, change: Callable[[str], str]
    ) -> str:
        """Attention of [batch, heads, length, size each]; `keys` are transposed.

        Args:
            change: What is done with the scores, such as masking.
        """
        scores = self.node("MatMul", queries, keys)
        scores = self.node("Div", scores, self.tensor(np.float32(math.sqrt(size))))
        weights = self.node("Softmax", change(scores), axis=-1)
        return self.joined(self.node("MatMul", weights, values))

    def joined(self, x: str) -> str:
        """[batch, heads, length, size each] as [batch, length, size]."""
        return self.reshape(self.node("Transpose", x, perm=[0, 2, 1, 3]), 0, 0, -1)

    def heads(self, x: str, number: int, size: int, *, transposed: bool = False) -> str:
        """[batch, length, size] as [batch, heads, length, size each], or the last two exchanged."""
        perm = [0, 2, 3, 1] if transposed else [0, 2, 1, 3]
        return self.node("Transpose", self.reshape(x, 0, 0, number, size), perm=perm)

    def conv(
        self,
        x: str,
        name: str,
        norm: str,
        channels: tuple[int, int],
        size: int = 1,
        *,
        stride: int = 1,
        group: int = 1,
        folded: bool = True,
    ) -> str:
        """A convolution and its batch normalization, which may be folded into it."""
        n, m = channels
        shape = (m, n // group, size, size)
        weight = self.weight(f"{name}.weight", *shape, scale=math.sqrt(2 / math.prod(shape[1:])))
        pads, square = [size // 2] * 4, [size, size]
        attributes: dict[str, Any] = {
            "kernel_shape": square,
            "strides": [stride, stride],
            "pads": pads,
            "group": group,
            "dilations": [1, 1],
        }
        if folded:
            return self.node("Conv", x, weight, self.weight(f"{name}.bias", m), **attributes)
        x = self.node("Conv", x, weight, **attributes)
        spread = 1 + 0.1 * self.rng.standard_normal((2, m), np.float32).clip(-3, 3)
        return self.node(
            "BatchNormalization",
            x,
            self.tensor(spread[0], f"{norm}.weight"),
            self.weight(f"{norm}.bias", m),
            self.weight(f"{norm}.running_mean", m),
            self.tensor(spread[1], f"{norm}.running_var"),
            epsilon=1e-5,
            momentum=0.9,
        )

    def classifier(self, x: str, name: str, n: int) -> str:
        """1000 logits of [batch, n, height, width]."""
        pooled = self.node("Flatten", self.node("GlobalAveragePool", x), axis=1)
        return self.gemm(pooled, name, n, 1000)

    def model(
        self, inputs: dict[str, tuple[int, Sequence[Any]]], outputs: dict[str, Sequence[Any]]
    ) -> onnx.ModelProto:
        """The model: element type and shape of each input, and values that are outputs."""
        ends = [helper.make_tensor_value_info(k, *v) for k, v in inputs.items()]
        results = [helper.make_tensor_value_info(k, 1, v) for k, v in outputs.items()]
        graph = helper.make_graph(self.nodes, "main_graph", ends, results, [*self.tensors.values()])
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="pytorch")


def image_model(net: Network, logits: str) -> onnx.ModelProto:
    """A classifier of images `x`."""
    shape = (BATCH, 3, 224, 224)
    return net.model({"x": (TensorProto.FLOAT, shape)}, {logits: (BATCH, 1000)})


def mobilenet_v2(*, folded: bool = True) -> onnx.ModelProto:
    """MobileNetV2 of width 1.0 (3.5 million parameters), its batch normalization folded or not."""
    net = Network()
    six = [net.tensor(np.float32(0)), net.tensor(np.float32(6))]

    def conv(x: str, place: str, norm: str, *channels: int, relu: bool = True, **kind: int) -> str:
        x = net.conv(x, place, norm, channels, folded=folded, **kind)  # type: ignore[arg-type]
        return net.node("Clip", x, *six) if relu else x

    x, n, index = conv("x", "features.0.0", "features.0.1", 3, 32, size=3, stride=2), 32, 1
    for expansion, m, repeats, first_stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for repeat in range(repeats):
            start, inner, stride = x, n * expansion, 1 if repeat else first_stride
            place, part = f"features.{index}.conv", count()
            if expansion > 1:
                name = f"{place}.{next(part)}"
                x = conv(x, f"{name}.0", f"{name}.1", n, inner)
            name = f"{place}.{next(part)}"
            x = conv(x, f"{name}.0", f"{name}.1", inner, inner, size=3, stride=stride, group=inner)
            last = next(part)
            x = conv(x, f"{place}.{last}", f"{place}.{last + 1}", inner, m, relu=False)
            x = net.node("Add", start, x) if stride == 1 and n == m else x
            n, index = m, index + 1
    x = conv(x, f"features.{index}.0", f"features.{index}.1", n, 1280)
    return image_model(net, net.classifier(x, "classifier.1", 1280))


def resnet50(*, folded: bool = True) -> onnx.ModelProto:
    """ResNet-50 (25.6 million parameters), its batch normalization folded or not."""
    net = Network()

    def conv(x: str, name: str, norm: str, *channels: int, **kind: int) -> str:
        return net.conv(x, name, norm, channels, folded=folded, **kind)  # type: ignore[arg-type]

    x = net.node("Relu", conv("x", "conv1", "bn1", 3, 64, size=7, stride=2))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    n = 64
    for layer, repeats in enumerate((3, 4, 6, 3), 1):
        inner = 32 * 2**layer
        for repeat in range(repeats):
            place, stride = f"layer{layer}.{repeat}", 2 if layer > 1 and not repeat else 1
            y = net.node("Relu", conv(x, f"{place}.conv1", f"{place}.bn1", n, inner))
            y = conv(y, f"{place}.conv2", f"{place}.bn2", inner, inner, size=3, stride=stride)
            y = net.node("Relu", y)
            y = conv(y, f"{place}.conv3", f"{place}.bn3", inner, 4 * inner)
            if not repeat:
                down = f"{place}.downsample"
                x = conv(x, f"{down}.0", f"{down}.1", n, 4 * inner, stride=stride)
            x, n = net.node("Relu", net.node("Add", y, x)), 4 * inner
    return image_model(net, net.classifier(x, "fc", n))


def vit_small(*, spelled_out: bool = False) -> onnx.ModelProto:
    """ViT-S/16 (22 million parameters) for images of 224 x 224."""
    net = Network(spelled_out=spelled_out)
    n, heads = 384, 6
    size = n // heads
    patches = net.node(
        "Conv",
        "x",
        net.weight("patch_embed.proj.weight", n, 3, 16, 16),
        net.weight("patch_embed.proj.bias", n),
        kernel_shape=[16, 16],
        strides=[16, 16],
    )
    patches = net.node("Transpose", net.reshape(patches, 0, n, -1), perm=[0, 2, 1])
    number = net.node("Slice", net.node("Shape", "x"), *map(net.tensor, np.int64([[0], [1], [0]])))
    shape = net.node("Concat", number, net.tensor(np.array([1, n])), axis=0)
    token = net.node("Expand", net.weight("cls_token", 1, 1, n), shape)
    x = net.node("Concat", token, patches, axis=1)
    x = net.node("Add", x, net.weight("pos_embed", 1, 197, n))
    for layer in range(12):
        place = f"blocks.{layer}"
        y = net.layer_norm(x, f"{place}.norm1", n, 1e-6)
        y = net.reshape(net.linear(y, f"{place}.attn.qkv", n, 3 * n), 0, 0, 3, heads, size)
        y = net.node("Transpose", y, perm=[2, 0, 3, 1, 4])
        q, k, v = (net.node("Gather", y, net.tensor(np.int64(i)), axis=0) for i in range(3))
        k = net.node("Transpose", k, perm=[0, 1, 3, 2])
        y = net.attention(q, k, v, size, lambda scores: scores)
        x = net.node("Add", x, net.linear(y, f"{place}.attn.proj", n, n))
        y = net.layer_norm(x, f"{place}.norm2", n, 1e-6)
        y = net.gelu(net.linear(y, f"{place}.mlp.fc1", n, 4 * n))
        x = net.node("Add", x, net.linear(y, f"{place}.mlp.fc2", 4 * n, n))
    x = net.layer_norm(x, "norm", n, 1e-6)
    first = net.node("Gather", x, net.tensor(np.int64(0)), axis=1)
    return image_model(net, net.gemm(first, "head", n, 1000))


def bert_base(*, spelled_out: bool = False) -> onnx.ModelProto:
    """BERT-base, uncased (109 million parameters)."""
    net = Network(spelled_out=spelled_out)
    n, heads = 768, 12
    size = n // heads
    length = net.node("Slice", net.node("Shape", "input_ids"), *slices(net, 1, 2))
    places = net.tensor(np.arange(512)[None], "embeddings.position_ids")
    places = net.node("Slice", places, net.tensor(np.int64([0])), length, net.tensor(np.int64([1])))
    x = net.node("Gather", net.weight("embeddings.word_embeddings.weight", 30522, n), "input_ids")
    types = net.weight("embeddings.token_type_embeddings.weight", 2, n)
    x = net.node("Add", x, net.node("Gather", types, "token_type_ids"))
    table = net.weight("embeddings.position_embeddings.weight", 512, n)
    x = net.node("Add", x, net.node("Gather", table, places))
    x = net.layer_norm(x, "embeddings.LayerNorm", n, 1e-12)
    mask = net.node("Unsqueeze", "attention_mask", net.tensor(np.int64([1, 2])))
    mask = net.node("Sub", net.tensor(np.float32(1)), net.node("Cast", mask, to=TensorProto.FLOAT))
    mask = net.node("Mul", mask, net.tensor(np.finfo(np.float32).min))
    for layer in range(12):
        place = f"encoder.layer.{layer}"
        own = f"{place}.attention.self"
        q, k, v = (net.linear(x, f"{own}.{part}", n, n) for part in ("query", "key", "value"))
        y = net.attention(
            net.heads(q, heads, size),
            net.heads(k, heads, size, transposed=True),
            net.heads(v, heads, size),
            size,
            lambda scores: net.node("Add", scores, mask),
        )
        y = net.linear(y, f"{place}.attention.output.dense", n, n)
        x = net.layer_norm(net.node("Add", y, x), f"{place}.attention.output.LayerNorm", n, 1e-12)
        y = net.gelu(net.linear(x, f"{place}.intermediate.dense", n, 4 * n))
        y = net.linear(y, f"{place}.output.dense", 4 * n, n)
        x = net.layer_norm(net.node("Add", y, x), f"{place}.output.LayerNorm", n, 1e-12)
    first = net.node("Gather", x, net.tensor(np.int64(0)), axis=1)
    pooled = net.node("Tanh", net.gemm(first, "pooler.dense", n, n))
    names = ("input_ids", "token_type_ids", "attention_mask")
    return net.model(
        dict.fromkeys(names, (TensorProto.INT64, (BATCH, SEQUENCE))),
        {x: (BATCH, SEQUENCE, n), pooled: (BATCH, n)},
    )


def gpt2(*, spelled_out: bool = False) -> onnx.ModelProto:
    """GPT-2, the small one (124 million parameters), its head tied to the embedding."""
    net = Network(spelled_out=spelled_out)
    n, heads, longest = 768, 12, 1024
    size = n // heads
    length = net.node("Slice", net.node("Shape", "input_ids"), *slices(net, 1, 2))
    start, axis = net.tensor(np.int64([0])), net.tensor(np.int64([1]))
    places = net.node("Slice", net.tensor(np.arange(longest)[None]), start, length, axis)
    words = net.weight("wte.weight", 50257, n)
    x = net.node("Gather", words, "input_ids")
    x = net.node("Add", x, net.node("Gather", net.weight("wpe.weight", longest, n), places))
    causal: str = net.tensor(np.tri(longest, dtype=np.bool_)[None, None], "h.0.attn.bias")
    for along in (2, 3):
        causal = net.node("Slice", causal, start, length, net.tensor(np.int64([along])))
    least = net.tensor(np.finfo(np.float32).min)

    def conv1d(x: str, name: str, n: int, m: int) -> str:
        """What GPT-2 calls so: a linear layer, written as the product of matrices."""
        shape = net.node("Concat", net.node("Slice", net.node("Shape", x), *slices(net, 0, 2)),
                         net.tensor(np.int64([m])), axis=0)  # fmt: skip
        made = net.gemm(net.reshape(x, -1, n), name, n, m, transposed=False)
        return str(net.node("Reshape", made, shape))

    for layer in range(12):
        place = f"h.{layer}"
        y = conv1d(net.layer_norm(x, f"{place}.ln_1", n, 1e-5), f"{place}.attn.c_attn", n, 3 * n)
        sizes = net.tensor(np.int64([n, n, n]))
        q, k, v = net.node("Split", y, sizes, outputs=3, axis=2)
        y = net.attention(
            net.heads(q, heads, size),
            net.heads(k, heads, size, transposed=True),
            net.heads(v, heads, size),
            size,
            lambda scores: net.node("Where", causal, scores, least),
        )
        x = net.node("Add", conv1d(y, f"{place}.attn.c_proj", n, n), x)
        y = conv1d(net.layer_norm(x, f"{place}.ln_2", n, 1e-5), f"{place}.mlp.c_fc", n, 4 * n)
        y = conv1d(net.gelu_by_tanh(y), f"{place}.mlp.c_proj", 4 * n, n)
        x = net.node("Add", x, y)
    x = net.layer_norm(x, "ln_f", n, 1e-5)
    logits = net.node("MatMul", x, net.node("Transpose", words, perm=[1, 0]))
    inputs = {"input_ids": (TensorProto.INT64, (BATCH, SEQUENCE))}
    return net.model(inputs, {logits: (BATCH, SEQUENCE, 50257)})


def slices(net: Network, start: int, end: int) -> list[str]:
    """The further operands of a Slice of the first axis."""
    return [net.tensor(np.int64([number])) for number in (start, end, 0)]


MODELS: dict[str, Callable[..., onnx.ModelProto]] = {
    each.__name__: each for each in (mobilenet_v2, resnet50, vit_small, bert_base, gpt2)
}
TRANSFORMERS = ("vit_small", "bert_base", "gpt2")
LENGTHS = {"bert_base": 128, "gpt2": 64}  # of the texts in inference


def feeds(model: onnx.ModelProto, batch: int, length: int | None = None) -> dict[str, np.ndarray]:
    """Random inputs by name: pixels, or words of one text in each row, whose types are all 0."""
    rng = np.random.default_rng(0)
    sizes = {BATCH: batch, SEQUENCE: length}
    made: dict[str, np.ndarray] = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [sizes.get(d.dim_param) or d.dim_value for d in kind.shape.dim]
        if kind.elem_type == TensorProto.FLOAT:
            made[value.name] = rng.standard_normal(shape, np.float32)
        elif value.name == "input_ids":
            made[value.name] = rng.integers(0, 30_000, shape)
        else:
            made[value.name] = np.full(shape, value.name == "attention_mask", np.int64)
    return made


if __name__ == "__main__":
    for name, build in MODELS.items():
        onnx.save(build(), Path(sys.argv[1]) / f"{name}.onnx")
