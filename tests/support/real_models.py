"""Real pre-trained models: how to feed each, and the same model in double precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnxla import ir
from onnxla.commands.downloads import fetch

Shapes = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class RealModel:
    """A model and how to feed it.

    Attributes:
        load: The model's bytes.
        shapes: Shapes of its floating-point inputs as a function of a size.
        sizes: The sizes to try: of the batch or of the length, two where the model allows.
        others: Its other inputs, as a function of the same size.
        rate: A learning rate at which adam does not overshoot.
        train: What to train where nothing does by default.
        quickly: Whether to compile quickly what runs a few times: unless running it then takes
            longer than compiling it well.
    """

    load: Callable[[], bytes]
    shapes: Callable[[int], Shapes]
    sizes: tuple[int, ...] = (1, 2)
    others: Callable[[int], Mapping[str, np.ndarray]] = lambda n: {}
    rate: float = 1e-5
    train: tuple[str, ...] = ()
    quickly: bool = True

    def feeds(self, size: int, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs by name."""
        rng = np.random.default_rng([seed, size])
        floats = {
            name: rng.uniform(-1, 1, shape).astype(np.float32)
            for name, shape in self.shapes(size).items()
        }
        return {**floats, **self.others(size)}


def fetched(name: str) -> Callable[[], bytes]:
    return lambda: fetch(name).read_bytes()


# How much the random weights of a convolution amplify, so that an architecture's logits are of
# size 1: what is far smaller or larger hides errors in a Softmax.
GAINS = {
    "bvlc_alexnet": 1.4,
    "densenet121": 1.5,
    "inception_v1": 1.2,
    "inception_v2": 1.3,
    "resnet50": 0.8,
    "shufflenet": 0.6,
    "squeezenet": 1.4,
    "vgg19": 1.4,
    "zfnet512": 1.6,
}

# Their nodes are those of others of the same maker or kind, so that what takes minutes to compile
# is compiled for the others.
ALIKE = {
    *("light/vgg19", "light/zfnet512"),  # light/bvlc_alexnet
    *("silero_vad/16k_op15", "silero_vad/half", "silero_vad/openvino_16k"),  # silero_vad/vad
}

# With more than 50 million weights, they take longer to run than to compile.
LARGE = {"bvlc_alexnet", "vgg19", "zfnet512"}


def light(name: str) -> Callable[[], bytes]:
    """A model architecture of the `onnx` wheel, with random weights.

    Its own are constants, made by `ConstantOfShape` nodes, which would hide errors.
    """

    def load() -> bytes:
        folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
        model = onnx.load(folder / f"light_{name}.onnx")
        graph = model.graph
        shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        uses = {n: (node.op_type, i) for node in graph.node for i, n in enumerate(node.input)}
        for node in graph.node:
            if node.op_type == "Unsqueeze":  # of a scale or a bias
                uses[node.input[0]] = uses[node.output[0]]
        rng = np.random.default_rng(0)
        kept = []
        for node in graph.node:
            if node.op_type != "ConstantOfShape":
                kept.append(node)
                continue
            shape = shapes[node.input[0]]
            value = random_weight(rng, shape, GAINS[name], *uses.get(node.output[0], ("", 0)))
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        del graph.node[:]
        graph.node.extend(kept)
        return model.SerializeToString()

    return load


def random_weight(
    rng: np.random.Generator, shape: Any, gain: float, operator: str, position: int
) -> np.ndarray:
    if operator in ("Conv", "Gemm") and position == 1:
        fan_in = np.prod(shape[1:])
        value = rng.standard_normal(shape) * ((gain if operator == "Conv" else 1) / np.sqrt(fan_in))
    elif operator in ("BatchNormalization", "Mul") and position in (1, 4):
        value = rng.uniform(0.8, 1.2, shape)
    else:
        value = rng.normal(0, 0.05, shape)
    return value.astype(np.float32)


def speech(*, rate: bool, samples: int = 576) -> dict[str, Any]:
    """How to feed the silero models: audio, state and perhaps the sampling rate."""
    others = (lambda n: {"sr": np.asarray(16000, np.int64)}) if rate else (lambda n: {})
    return {
        "shapes": lambda n: {"input": (n, samples), "state": (2, n, 128)},
        "others": others,
    }


def image(name: str, *shape: int) -> dict[str, Any]:
    return {"shapes": lambda n: {name: (n, *shape)}}


def deep_filter(**shapes: tuple[Any, ...]) -> dict[str, Any]:
    """Shapes with `S` for the number of frames."""
    return {
        "shapes": lambda n: {
            name: tuple(n if size == "S" else size for size in shape)
            for name, shape in shapes.items()
        },
        "sizes": (4, 9),
    }


def text_bytes(n: int) -> dict[str, np.ndarray]:
    return {"bytes": np.random.default_rng(n).integers(0, 257, (n, 2048)).astype(np.int32)}


def pages(n: int) -> dict[str, np.ndarray]:
    """Pictures with a line of text: on noise, a text detector's answer is zero everywhere."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(26)
    images = []
    for i in range(n):
        page = Image.new("RGB", (128, 64), "white")
        ImageDraw.Draw(page).text((8, 16), f"onnxla {i}", "black", font)
        images.append(np.asarray(page, np.float32).transpose(2, 0, 1) / 127.5 - 1)
    return {"x": np.stack(images)}


LISTED = {
    "rapidocr/cls": RealModel(fetched("rapidocr/cls.onnx"), **image("x", 3, 48, 192)),
    "rapidocr/rec": RealModel(fetched("rapidocr/rec.onnx"), **image("x", 3, 48, 160)),
    "magika": RealModel(fetched("magika/model.onnx"), lambda n: {}, others=text_bytes),
    "basic_pitch": RealModel(
        fetched("basic_pitch/nmp.onnx"),
        **image("serving_default_input_2:0", 43844, 1),
        quickly=False,
    ),
    "silero_vad/vad": RealModel(fetched("silero_vad/vad.onnx"), **speech(rate=True)),
    "silero_vad/16k_op15": RealModel(fetched("silero_vad/16k_op15.onnx"), **speech(rate=True)),
    "silero_vad/half": RealModel(fetched("silero_vad/half.onnx"), **speech(rate=False)),
    "silero_vad/op18_ifless": RealModel(
        fetched("silero_vad/op18_ifless.onnx"), **speech(rate=True)
    ),
    "silero_vad/openvino_16k": RealModel(
        fetched("silero_vad/openvino_16k.onnx"), **speech(rate=False), sizes=(1,)
    ),
    "silero_vad/16k_sequence": RealModel(
        fetched("silero_vad/16k_sequence.onnx"),
        lambda n: {"input": (n, 576), "h": (1, 1, 128), "c": (1, 1, 128)},
        sizes=(3, 5),
    ),
    "deepfilternet/enc": RealModel(
        fetched("deepfilternet/enc.onnx"),
        **deep_filter(feat_erb=(1, 1, "S", 32), feat_spec=(1, 2, "S", 96)),
    ),
    "deepfilternet/erb_dec": RealModel(
        fetched("deepfilternet/erb_dec.onnx"),
        **deep_filter(
            emb=(1, "S", 512),
            e3=(1, 64, "S", 8),
            e2=(1, 64, "S", 8),
            e1=(1, 64, "S", 16),
            e0=(1, 64, "S", 32),
        ),
    ),
    "deepfilternet/df_dec": RealModel(
        fetched("deepfilternet/df_dec.onnx"),
        **deep_filter(emb=(1, "S", 512), c0=(1, 64, "S", 96)),
    ),
    "ddddocr/common": RealModel(
        fetched("ddddocr/common.onnx"), lambda n: {"input1": (1, 1, 64, n)}, sizes=(64, 96)
    ),
    **{
        f"light/{name}": RealModel(
            light(name),
            **image(data, 3, 224, 224),
            sizes=(1,),
            quickly=name not in LARGE,
        )
        for name, data in (
            ("bvlc_alexnet", "data_0"),
            ("densenet121", "data_0"),
            ("inception_v1", "data_0"),
            ("inception_v2", "data_0"),
            ("resnet50", "gpu_0/data_0"),
            ("shufflenet", "gpu_0/data_0"),
            ("squeezenet", "data_0"),
            ("vgg19", "data_0"),
            ("zfnet512", "gpu_0/data_0"),
        )
    },
}

FURTHER = {
    "rapidocr/det": RealModel(fetched("rapidocr/det.onnx"), lambda n: {}, others=pages, rate=1e-6),
    "ddddocr/common_det": RealModel(
        fetched("ddddocr/common_det.onnx"), **image("images", 3, 416, 416), sizes=(1,)
    ),
    "opennsfw": RealModel(
        fetched("opennsfw/resnet.onnx"), **image("input:0", 224, 224, 3), rate=1e-6
    ),
    "openwakeword/embedding": RealModel(
        fetched("openwakeword/embedding.onnx"), **image("input_1", 76, 32, 1)
    ),
    "openwakeword/hey_jarvis": RealModel(
        fetched("openwakeword/hey_jarvis.onnx"), **image("x.1", 16, 96), sizes=(1,)
    ),
    "openwakeword/melspectrogram": RealModel(
        fetched("openwakeword/melspectrogram.onnx"),
        lambda n: {"input": (1, n)},
        sizes=(1280, 2000),
        train=("0.stft.conv_real.weight", "0.stft.conv_imag.weight", "1.melW"),
    ),
    "openwakeword/timer": RealModel(
        fetched("openwakeword/timer.onnx"), **image("onnx::Flatten_0", 34, 96), sizes=(1,)
    ),
}


def in_double_precision(model: ir.Model) -> ir.Model:
    """The same model with every floating-point tensor, type and cast in float64."""
    narrow = (np.dtype(np.float32), np.dtype(np.float16))

    def type_(kind: ir.Type) -> ir.Type:
        if isinstance(kind, ir.TensorType) and kind.dtype in narrow:
            return replace(kind, dtype=np.dtype(np.float64))
        return kind

    def values(old: tuple[ir.ValueInfo, ...]) -> tuple[ir.ValueInfo, ...]:
        return tuple(replace(value, type=type_(value.type)) for value in old)

    def attribute(name: str, value: Any) -> Any:
        if isinstance(value, ir.Graph):
            return graph(value)
        if isinstance(value, ir.Tensor) and value.dtype in narrow:
            wide = np.dtype(np.float64)
            return ir.Tensor(value.name, wide, value.shape, lambda: value.numpy().astype(wide))
        if name in ("to", "dtype") and ir.dtype_of(value) in narrow:
            return ir.number_of(np.dtype(np.float64))
        return value

    def node(old: ir.Node) -> ir.Node:
        return replace(old, attributes={k: attribute(k, v) for k, v in old.attributes.items()})

    def graph(old: ir.Graph) -> ir.Graph:
        return replace(
            old,
            nodes=tuple(map(node, old.nodes)),
            inputs=values(old.inputs),
            outputs=values(old.outputs),
            initializers=tuple(attribute("", tensor) for tensor in old.initializers),
        )

    return replace(model, graph=graph(model.graph))
