"""Parameters as XLA wants them on the CPU, where its convolution takes kernels in another order.

A file has kernels [M, C, ...]; XLA transposes them to [..., C, M] in each call: of ResNet-50 it is
a third of the time. A program transposes back what is stored in that order, and XLA removes both.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ir.model import Node
from onnxla.ir.traverse import is_standard
from onnxla.ops.values import Value, is_concrete


def kernels(nodes: Sequence[Node], params: Mapping[str, Value]) -> Iterator[str]:
    """Names of the parameters that are kernels of convolutions which XLA computes as such."""
    for node in nodes:
        if is_standard(node, "Conv") and node.attributes.get("group", 1) == 1:
            kernel = params.get(node.inputs[1])
            if kernel is not None and kernel.shape[1] > 1 and math.prod(kernel.shape[2:]) > 1:
                yield node.inputs[1]


def is_on_cpu(value: Value) -> bool:
    """Whether an array is on one device, a CPU."""
    devices = value.devices() if isinstance(value, jax.Array) and is_concrete(value) else ()
    return len(devices) == 1 and all(device.platform == "cpu" for device in devices)


def to_stored(x: Value) -> Value:
    """A kernel [M, C, ...] as [..., C, M]."""
    if not is_on_cpu(x):  # but in several parts, or traced
        return jnp.moveaxis(x, (0, 1), (-1, -2))
    return jax.device_put(np.moveaxis(np.asarray(x), (0, 1), (-1, -2)).copy())


def from_stored(x: Value) -> Value:
    """The inverse of `to_stored`."""
    return jnp.moveaxis(x, (-1, -2), (0, 1))


class Reordered:
    """Parameters with some of them in the order of `to_stored`, made anew when these change.

    Args:
        names: Which of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.last: tuple[list[Value], dict[str, Value]] = [], {}

    def __call__(self, params: Mapping[str, Value]) -> Mapping[str, Value]:
        """Parameters for a program; those of the last call if they are the same arrays."""
        own = [params[name] for name in self.names]
        if not own:
            return params
        before, stored = self.last
        if len(before) != len(own) or not all(map(operator.is_, before, own)):
            with jax.enable_x64(True):
                stored = dict(zip(self.names, map(to_stored, own), strict=True))
            if is_concrete(own):
                self.last = own, stored
        return {**params, **stored}

    def first(self, program: Callable[..., Any]) -> Callable[..., Any]:
        """A program of stored parameters as one of parameters."""
        if not self.names:
            return program

        def call(params: Mapping[str, Value], *values: Value, **keywords: Value) -> Any:
            return program(self(params), *values, **keywords)

        return call

    def restored(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Parameters as the file has them, in a program."""
        return {**params, **{name: from_stored(params[name]) for name in self.names}}
