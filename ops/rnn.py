"""Recurrent layers: one scan over time, and what each kind of cell does in a step.

Letters: T steps, N sequences, I inputs, H hidden units, D directions, G gates.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax

from onnxla.ir.errors import ModelError
from onnxla.ir.names import quoted
from onnxla.ops import activation
from onnxla.ops.cast import widen
from onnxla.ops.index import check_indices
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced

Activation = Callable[[Value], Value]
# From a step's input projection [N, G * H], the state (h, ...), the direction's weights R, Rb and
# P, and its activations, to the next state.
Step = Callable[..., tuple[Value, ...]]

# Each function with the defaults of what `activation_alpha` and `activation_beta` give it.
ACTIVATIONS: dict[str, tuple[Callable[..., Value], dict[str, float]]] = {
    "relu": (activation.relu, {}),
    "tanh": (jnp.tanh, {}),
    "sigmoid": (activation.sigmoid, {}),
    "affine": (lambda x, alpha, beta: alpha * x + beta, {"alpha": 1.0, "beta": 0.0}),
    "leakyrelu": (activation.leaky_relu, {"alpha": 0.01}),
    "thresholdedrelu": (lambda x, alpha: jnp.where(x >= alpha, x, 0), {"alpha": 1.0}),
    "scaledtanh": (lambda x, alpha, beta: alpha * jnp.tanh(beta * x), {"alpha": 1.0, "beta": 1.0}),
    "hardsigmoid": (activation.hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    "elu": (activation.elu, {"alpha": 1.0}),
    "softsign": (activation.softsign, {}),
    "softplus": (activation.softplus, {}),
}
# Whether each direction of a layer runs backward.
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
STATES: dict[str, int | None] = {"X": 1, "sequence_lens": 0, "initial_h": 1}
RNN_ROLES = {"W": "weight", "R": "weight", "B": "bias", "initial_h": "state"}


@dataclass(frozen=True)
class Layer:
    """The attributes that all recurrent layers have."""

    activation_alpha: tuple[float, ...] | None = None
    activation_beta: tuple[float, ...] | None = None
    activations: tuple[str, ...] | None = None
    clip: float | None = None
    direction: str = "forward"
    hidden_size: int | None = None

    def functions(self, defaults: tuple[str, ...], directions: int) -> list[list[Activation]]:
        """The activations of each direction."""
        n, names = len(defaults), self.activations or defaults * directions
        if len(names) < n * directions:
            raise ModelError(f"{names} are not {n} activations for {directions} direction(s)")
        # A function takes from `alpha` and `beta` only what it has a use for.
        values = iter(self.activation_alpha or ()), iter(self.activation_beta or ())
        # The third, of an LSTM, has the cell as its input, which is not limited.
        clips = [self.clip if i % n < 2 else None for i in range(len(names))]
        bound = [self.bind(name, values, clip) for name, clip in zip(names, clips, strict=True)]
        return [bound[i * n : (i + 1) * n] for i in range(directions)]

    def bind(self, name: str, values: Sequence[Iterator[float]], clip: float | None) -> Activation:
        """A function of x, which is limited to [-clip, clip] first."""
        if name.lower() not in ACTIVATIONS:
            raise ModelError(f"{quoted(name)} is no activation of a recurrent layer")
        function, defaults = ACTIVATIONS[name.lower()]
        given = map(next, values, defaults.values())
        constants = dict(zip(defaults, given, strict=False))
        return lambda x: function(x if clip is None else jnp.clip(x, -clip, clip), **constants)

    def run(
        self,
        step: Step,
        defaults: tuple[str, ...],
        X: Value,
        W: Value,
        R: Value,
        B: Value | None,
        sequence_lens: Value | None,
        initial: Sequence[Value | None],
        P: Value | None = None,
        layout: int = 0,
    ) -> tuple[Value, ...]:
        """`step` over time in each direction: the outputs Y, then the final states.

        A sequence's state stands still from its end on, and its outputs there are zero; a backward
        direction therefore starts at each sequence's last element.
        """
        if len(W) != len(backwards := DIRECTIONS.get(self.direction, ())):
            raise ModelError(f"direction '{self.direction}' with a weight of shape {W.shape}")
        dtype = X.dtype  # half precision would lose more at each step
        X, W, R, B, P, *initial = jax.tree.map(widen, as_traced([X, W, R, B, P, *initial]))
        if layout:
            X, *initial = (s if s is None else s.swapaxes(0, 1) for s in (X, *initial))
        valid = None
        if sequence_lens is not None:
            check_indices(sequence_lens, len(X) + 1)
            steps = jnp.arange(len(X), dtype=sequence_lens.dtype)
            valid = (steps[:, None] < sequence_lens)[:, :, None]
        biases = jnp.zeros((len(W), 2 * W.shape[1]), X.dtype) if B is None else B
        Wb, Rb = jnp.split(biases, 2, axis=1)
        zero = jnp.zeros((X.shape[1], R.shape[2]), X.dtype)

        results, functions = [], self.functions(defaults, len(W))
        for d, reverse in enumerate(backwards):
            weights = R[d], Rb[d], None if P is None else P[d]

            def body(state, x, weights=weights, functions=functions[d]):  # type: ignore
                projected, valid = x
                new = step(projected, state, weights, functions)
                if valid is None:
                    return new, new[0]
                kept = tuple(map(functools.partial(jnp.where, valid), new, state))
                return kept, jnp.where(valid, new[0], 0)

            state = tuple(zero if s is None else s[d] for s in initial)
            final, y = lax.scan(body, state, (X @ W[d].T + Wb[d], valid), reverse=reverse)
            results.append((y, *final))
        Y, *states = zip(*results, strict=True)
        y = jnp.moveaxis(jnp.stack(Y, 1), 2 * layout, 0)
        return tuple(v.astype(dtype) for v in (y, *(jnp.stack(s, layout) for s in states)))


LAYER, LAYER_OF_TANH = Layer(), Layer(activations=("Tanh", "Tanh"))
MISSPELT = Layer(direction="foward")
LSTM = ("Sigmoid", "Tanh", "Tanh")


def rnn_step(
    x: Value, state: tuple[Value, ...], weights: Sequence[Value], functions: Sequence[Activation]
) -> tuple[Value, ...]:
    """H' = f(x + H R^T + Rb)."""
    (h,), (R, b, _), (f,) = state, weights, functions
    return (f(x + h @ R.T + b),)


def gru_step(
    x: Value,
    state: tuple[Value, ...],
    weights: Sequence[Value],
    functions: Sequence[Activation],
    linear_before_reset: int,
) -> tuple[Value, ...]:
    """H' = (1 - z) h + z H, where the reset gate r acts on H, or on what it is transformed to."""
    (h,), (R, b, _), (f, g) = state, weights, functions
    n = h.shape[1]
    if linear_before_reset:
        recurrent = h @ R.T + b
        z, r = jnp.split(f(x[:, : 2 * n] + recurrent[:, : 2 * n]), 2, axis=1)
        candidate = g(x[:, 2 * n :] + r * recurrent[:, 2 * n :])
    else:
        z, r = jnp.split(f(x[:, : 2 * n] + h @ R[: 2 * n].T + b[: 2 * n]), 2, axis=1)
        candidate = g(x[:, 2 * n :] + (r * h) @ R[2 * n :].T + b[2 * n :])
    return ((1 - z) * candidate + z * h,)


def lstm_step(
    x: Value,
    state: tuple[Value, ...],
    weights: Sequence[Value],
    functions: Sequence[Activation],
    input_forget: int,
) -> tuple[Value, ...]:
    """H' = o h(C'), C' = f C + i c, where the peepholes P let the gates i, f and o see the cell."""
    (h, c), (R, b, P), (f, g, act) = state, weights, functions
    i, o, forget, candidate = jnp.split(x + h @ R.T + b, 4, axis=1)

    def gate(x: Value, place: int, c: Value) -> Value:
        """A gate's activation, with its part of the peepholes."""
        return f(x if P is None else x + jnp.split(P, 3)[place] * c)

    i = gate(i, 0, c)
    c = (1 - i if input_forget else gate(forget, 2, c)) * c + i * g(candidate)
    return gate(o, 1, c) * act(c), c


@op("RNN", since=(1, 7, 14, 22), roles=RNN_ROLES, times_zero=("R",), matched=STATES)
def rnn(
    X: Value,
    W: Value,
    R: Value,
    B: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    *,
    layer: Layer = LAYER_OF_TANH,
    layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Value, ...]:
    """Y [T, D, N, H] and the last state Y_h [D, N, H] of a simple recurrent layer.

    X is [T, N, I], W [D, H, I], R [D, H, H], B [D, 2 * H], sequence_lens [N].
    """
    return layer.run(rnn_step, ("Tanh",), X, W, R, B, sequence_lens, (initial_h,), layout=layout)


@op("GRU", since=(3, 7, 14, 22), roles=RNN_ROLES, times_zero=("W", "R", "B"), matched=STATES)
def gru(
    X: Value,
    W: Value,
    R: Value,
    B: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    *,
    layer: Layer = LAYER,
    layout: int = 0,
    linear_before_reset: int = 0,
    output_sequence: int = 0,
) -> tuple[Value, ...]:
    """Y [T, D, N, H] and the last state Y_h [D, N, H] of gated recurrent units.

    X is [T, N, I], W [D, 3 * H, I], R [D, 3 * H, H], B [D, 6 * H], sequence_lens [N]; gates are in
    the order z, r, h.
    """
    step = functools.partial(gru_step, linear_before_reset=linear_before_reset)
    operands = X, W, R, B, sequence_lens, (initial_h,)
    return layer.run(step, ("Sigmoid", "Tanh"), *operands, layout=layout)


@op("GRU", since=(1,), roles=RNN_ROLES, times_zero=("W", "R", "B"), matched=STATES)
def gru_1(
    X: Value,
    W: Value,
    R: Value,
    B: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    *,
    layer: Layer = MISSPELT,
    output_sequence: int = 0,
) -> tuple[Value, ...]:
    """`gru`; the misspelt default of the direction is the schema's."""
    layer = replace(layer, direction=layer.direction.replace("foward", "forward"))
    return gru(X, W, R, B, sequence_lens, initial_h, layer=layer)


@op(
    "LSTM",
    since=(1, 7, 14, 22),
    roles={**RNN_ROLES, "initial_c": "state", "P": "weight"},
    times_zero=("W", "R", "B", "P"),
    matched=STATES | {"initial_c": 1},
)
def lstm(
    X: Value,
    W: Value,
    R: Value,
    B: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    initial_c: Value | None = None,
    P: Value | None = None,
    *,
    layer: Layer = LAYER,
    input_forget: int = 0,
    layout: int = 0,
    output_sequence: int = 0,
) -> tuple[Value, ...]:
    """Y [T, D, N, H] and the last states Y_h, Y_c [D, N, H] of a long short-term memory.

    X is [T, N, I], W [D, 4 * H, I], R [D, 4 * H, H], B [D, 8 * H], P [D, 3 * H], sequence_lens [N];
    gates are in the order i, o, f, c.

    Departs from ONNX: `clip` limits the inputs of the gates' activations only, not that of the
    output's, which is the cell; ONNX Runtime, by which models are tested, does the same.
    """
    step = functools.partial(lstm_step, input_forget=input_forget)
    operands = X, W, R, B, sequence_lens, (initial_h, initial_c), P
    return layer.run(step, LSTM, *operands, layout)
