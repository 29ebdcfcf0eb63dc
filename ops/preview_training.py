"""Steps of optimizers. Their operands come in groups: all tensors, then all gradients, ..."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from onnxla.ir.errors import ModelError
from onnxla.ops.checks import only
from onnxla.ops.table import op
from onnxla.ops.values import Value

DOMAIN = "ai.onnx.preview.training"
Step = Callable[..., tuple[Value, ...]]


def each(step: Step, size: int, R: Value, T: Value, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """The results of `step(r, t, x, g, ...)` for all tensors, in groups as the operands are."""
    n, rest = divmod(len(inputs), size)
    if rest:
        raise ModelError(f"{len(inputs)} operands are not {size} for each tensor")
    results = [
        step(*(jnp.asarray(a).reshape(()).astype(x.dtype) for a in (R, T)), x, *others)
        for x, *others in (map(jnp.asarray, inputs[i::n]) for i in range(n))
    ]
    return tuple(value for group in zip(*results, strict=True) for value in group)


@op("Adagrad", since=(1,), domain=DOMAIN)
def adagrad(
    R: Value,
    T: Value,
    *inputs: Value,
    decay_factor: float = 0.0,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
) -> tuple[Value, ...]:
    """The tensors and their sums of squared gradients after a step of AdaGrad at rate R."""

    def step(r: Value, t: Value, x: Value, g: Value, h: Value) -> tuple[Value, ...]:
        g = norm_coefficient * x + g
        h = h + g * g
        return x - r / (1 + t * decay_factor) * g / (jnp.sqrt(h) + epsilon), h

    return each(step, 3, R, T, inputs)


@op("Adam", since=(1,), domain=DOMAIN)
def adam(
    R: Value,
    T: Value,
    *inputs: Value,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> tuple[Value, ...]:
    """The tensors and the running means of gradients and of their squares after a step of Adam.

    The means count from 0, which is corrected for unless T is 0.
    """

    def step(r: Value, t: Value, x: Value, g: Value, v: Value, h: Value) -> tuple[Value, ...]:
        g = norm_coefficient * x + g
        v = alpha * v + (1 - alpha) * g
        h = beta * h + (1 - beta) * g * g
        after = jnp.maximum(t, 1)  # the other branch must not divide by 0
        corrected = r * jnp.sqrt(1 - beta**after) / (1 - alpha**after)
        x = x - jnp.where(t > 0, corrected, r) * v / (jnp.sqrt(h) + epsilon)
        return (1 - norm_coefficient_post) * x, v, h

    return each(step, 4, R, T, inputs)


@op("Momentum", since=(1,), domain=DOMAIN)
def momentum(
    R: Value,
    T: Value,
    *inputs: Value,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> tuple[Value, ...]:
    """The tensors and their momenta after a step of gradient descent; `mode` standard or nesterov.

    In the first step, that with T = 0, `beta` is 1.
    """
    only("mode", mode, "standard", "nesterov")

    def step(r: Value, t: Value, x: Value, g: Value, v: Value) -> tuple[Value, ...]:
        g = norm_coefficient * x + g
        v = alpha * v + jnp.where(t > 0, jnp.asarray(beta, x.dtype), 1) * g
        return x - r * (g + alpha * v if mode == "nesterov" else v), v

    return each(step, 3, R, T, inputs)


@op("Gradient", since=(1,), domain=DOMAIN)
def gradient(
    *Inputs: Value,
    xs: tuple[str, ...],
    y: str,
    zs: tuple[str, ...] = (),
    between: Callable[..., Callable[..., Value]] | None = None,
) -> tuple[Value, ...]:
    """Derivatives by `xs` of the sum of `y`, which the graph computes from `xs` and `zs`.

    They are taken at `Inputs`, the values of `xs` and then of `zs`.
    """
    if between is None or len(Inputs) != len(xs) + len(zs):
        raise ModelError(f"{len(Inputs)} operands for {len(xs)} xs and {len(zs)} zs")
    function, rest = between((*xs, *zs), y), Inputs[len(xs) :]
    value, pullback = jax.vjp(lambda *values: function(*values, *rest), *Inputs[: len(xs)])
    return tuple(pullback(jnp.ones_like(value)))
