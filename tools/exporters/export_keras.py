"""Makes the files and curves of Keras' exporters, all or those of the networks named.

Needs keras 3.15.1, tensorflow-cpu 2.21.0, tf2onnx 1.17.0 and onnx 1.23.2, and no onnxla:

    PYTHONPATH=tests python tools/exporters/export_keras.py [NETWORK...]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}

import keras
import onnx
import tensorflow as tf
import tf2onnx
from keras import layers

from support import curves

tf.config.threading.set_intra_op_parallelism_threads(1)
CLASSES = 4
# Keras rounds momentum, betas and weight decay to single precision: these have few bits. It adds
# epsilon before it corrects the second moment's bias, others after: it is too small to tell.
B2 = 1 - 2**-10
SETTINGS = {
    "sgd": {"learning_rate": 0.05, "momentum": 0.875},
    "adamw": {"learning_rate": 0.01, "weight_decay": 0.125, "b1": 0.875, "b2": B2, "eps": 1e-20},
}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.875),
    "adamw": lambda: keras.optimizers.AdamW(
        0.01, weight_decay=0.125, beta_1=0.875, beta_2=B2, epsilon=1e-20
    ),
}
EXPORTERS = ("keras-export", "keras-tf2onnx")


def cnn(x: Any) -> Any:
    """Convolutions with BatchNormalization after each, one of them depthwise."""
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x)))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(x))
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))


def recurrent(layer: Callable[..., Any], **options: Any) -> Callable[[Any], Any]:
    """Two layers, of which the first gives a sequence."""

    def build(x: Any) -> Any:
        x = layer(8, return_sequences=True, **options)(x)
        return layers.Dense(CLASSES)(layer(8, **options)(x))

    return build


def conv_lstm(x: Any) -> Any:
    """A sequence of images."""
    x = layers.ConvLSTM2D(4, 3, padding="same")(x)
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))


def attention(x: Any) -> Any:
    """A transformer's layer with the normalizations last."""
    x = layers.Dense(16)(x)
    y = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, y]))
    y = layers.Dense(16)(layers.Dense(32, activation="relu")(x))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, y]))
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x))


def group_norm(x: Any) -> Any:
    """Two groups, and one."""
    x = layers.ReLU()(layers.GroupNormalization(2)(layers.Conv2D(8, 3)(x)))
    x = layers.ReLU()(layers.GroupNormalization(1)(layers.Conv2D(8, 3)(x)))
    return layers.Dense(CLASSES)(layers.Flatten()(x))


IMAGES = (8, 8, 3)
SERIES = (6, 5)


@dataclass(frozen=True)
class Network:
    """A network, and the shape of a sample."""

    build: Callable[[Any], Any]
    shape: tuple[int, ...]

    def make(self) -> keras.Model:
        """The network with fresh values."""
        x = keras.Input(self.shape, name="x")
        return keras.Model(x, self.build(x))


NETWORKS = {
    "cnn": Network(cnn, IMAGES),
    "gru": Network(recurrent(layers.GRU), SERIES),
    "gru_reset_before": Network(recurrent(layers.GRU, reset_after=False), SERIES),
    "simple_rnn": Network(recurrent(layers.SimpleRNN), SERIES),
    "lstm": Network(recurrent(layers.LSTM), SERIES),
    "conv_lstm": Network(conv_lstm, (4, 6, 6, 2)),
    "attention": Network(attention, SERIES),
    "group_norm": Network(group_norm, IMAGES),
}


def make_loss() -> Any:
    """The loss, in the dtype that Keras computes in now."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def warm_up(net: keras.Model, network: Network) -> None:
    """A few steps, as tf2onnx drops biases that are zero."""
    net.compile("sgd", make_loss(), jit_compile=False)
    for inputs, targets in curves.batches(data_of(network)):
        net.train_on_batch(inputs["x"], targets)


def data_of(network: Network) -> dict[str, Any]:
    """A curve that tells its data alone."""
    inputs = {"x": {"shape": [8, *network.shape]}}
    targets = {"shape": [8], "below": CLASSES}
    return {"seed": 0, "batches": 4, "inputs": inputs, "targets": targets}


def train(net: keras.Model, network: Network, curve: dict[str, Any], name: str) -> dict[str, Any]:
    """Losses, and outputs in evaluation and running statistics afterwards, in Keras' floatx."""
    wide = network.make()
    wide.set_weights(net.get_weights())
    optimizer, loss = OPTIMIZERS[name](), make_loss()

    @tf.function
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(y, wide(x, training=True))
        gradient = tape.gradient(value, wide.trainable_variables)
        optimizer.apply_gradients(zip(gradient, wide.trainable_variables, strict=True))
        return value

    data = [(x["x"].astype(keras.config.floatx()), y) for x, y in curves.batches(curve)]
    losses = [float(step(*data[number % len(data)])) for number in range(curves.STEPS)]
    outputs = curves.rounded(wide(data[0][0], training=False).numpy())
    statistics = {v.path: v.numpy().tolist() for v in wide.variables if "/moving_" in v.path}
    return {"losses": losses, "outputs": outputs, "statistics": statistics}


def set_width(dtype: str) -> None:
    """Lets Keras compute in a dtype from now on."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


def curve_of(net: keras.Model, network: Network) -> dict[str, Any]:
    """What Keras makes of a network, in double precision and in single."""
    curve = {"framework": f"keras {keras.__version__}", **data_of(network)}
    curve["loss"] = "cross_entropy"
    curve["initial"] = curves.rounded(net(curves.batches(curve)[0][0]["x"]).numpy())
    for name, settings in SETTINGS.items():
        single = train(net, network, curve, name)["losses"]
        set_width("float64")
        double = train(net, network, curve, name)
        set_width("float32")
        curve[name] = {"settings": settings, "float32": single, "band": 0.0, **double}
    return curve


def export(net: keras.Model, network: Network, exporter: str, path: Path) -> None:
    """Writes a file; the batch's size is free."""
    signature = [tf.TensorSpec((None, *network.shape), tf.float32, name="x")]
    if exporter == "keras-export":
        net.export(path, format="onnx", verbose=False, input_signature=signature)
    else:
        function = tf.function(lambda x: net(x), input_signature=signature)
        tf2onnx.convert.from_function(function, signature, opset=18, output_path=path)
    onnx.checker.check_model(path)


def main(names: list[str]) -> None:
    """Writes the files and curves of networks."""
    for name in names or NETWORKS:
        network = NETWORKS[name]
        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        net = network.make()
        warm_up(net, network)
        for exporter in EXPORTERS:
            curves.write_file(exporter, name, partial(export, net, network, exporter))
        curves.write("keras", name, curve_of(net, network))


if __name__ == "__main__":
    main(sys.argv[1:])
