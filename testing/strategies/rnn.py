"""Recurrent layers.

Letters: T steps, N sequences, I inputs, H hidden units, D directions, G gates.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.attention import tolerance
from onnxla.testing.use import Use

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
# What an operator has by default, one function after the other in a direction.
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ACTIVATIONS = (
    "Tanh",
    "Sigmoid",
    "Relu",
    "HardSigmoid",
    "Elu",
    "LeakyRelu",
    "ThresholdedRelu",
    "ScaledTanh",
    "Affine",
    "Softsign",
    "Softplus",
)
WITH_ALPHA = ("HardSigmoid", "Elu", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "Affine")
WITH_BETA = ("HardSigmoid", "ScaledTanh", "Affine")


@strategy("RNN", "GRU", "LSTM")
def recurrent(draw: Draw) -> Use:
    """X (T, N, I), W (D, G * H, I), R (D, G * H, H), B (D, 2 * G * H), states (D, N, H)."""
    gates, lstm = GATES[draw.name], draw.name == "LSTM"
    steps, sequences = draw.side(1, 4), draw.side(1, 3)
    size, hidden = draw.integer(1, 3), draw.integer(1, 3)
    direction = draw.choice((None, "forward", "reverse", "bidirectional"))
    directions = 2 if direction == "bidirectional" else 1
    layout = draw.choice((None, 0, 1, None, 0)) if draw.has("layout") else None
    # Mostly what ONNX Runtime has: float32, the first layout and a stated size.
    draw.dtype("X", among=(np.float32,) if draw.choice((True, False, True)) else None)
    # The reference evaluator ignores the rest.
    plain = draw.choice((True, False, False))

    def weight(name: str, *shape: int) -> np.ndarray:
        return draw.tensor(name, (directions, *shape), -1, 1)

    def state(name: str) -> np.ndarray:
        shape = (directions, sequences, hidden)
        return draw.tensor(name, (sequences, directions, hidden) if layout else shape)

    x = draw.tensor("X", (sequences, steps, size) if layout else (steps, sequences, size))
    inputs: list[Any] = [
        x,
        weight("W", gates * hidden, size),
        weight("R", gates * hidden, hidden),
        draw.maybe(lambda: weight("B", 2 * gates * hidden)),
        None if plain else draw.maybe(lambda: draw.array(np.int32, (sequences,), 1, steps)),
        draw.maybe(lambda: state("initial_h")),
    ]
    if lstm:
        inputs += [
            draw.maybe(lambda: state("initial_c")),
            draw.maybe(lambda: weight("P", 3 * hidden)),
        ]
    attributes = {
        "hidden_size": draw.choice((hidden, None, hidden, hidden)),
        "direction": direction,
        "layout": layout,
        "clip": None if plain else draw.choice((None, 0.4, 1.3)),
        **({} if plain else draw_activations(draw, directions)),
    }
    for name, options in (
        ("linear_before_reset", (None, 0, 1)),
        ("input_forget", (None, 0) if plain else (None, 0, 1)),
        ("output_sequence", (None, 1)),
    ):
        if draw.has(name):
            attributes[name] = draw.choice(options)
    outputs = draw.choice(
        [[True] * (3 if lstm else 2), [False, True], *([[False, False, True]] * lstm)]
    )
    # Version 1 of GRU requires the last state.
    if (draw.name, draw.version) != ("GRU", 1) and not attributes.get("output_sequence"):
        outputs = draw.choice([outputs, [True]])
    return draw.use(
        inputs,
        attributes,
        outputs,
        ranks={"y0": 4, "y1": 3, "y2": 3},
        rtol=tolerance(x.dtype),
        # With the other layout the batch is the second axis.
        batch=[i for i in (0, 4, 5, 6) if i < len(inputs) and inputs[i] is not None]
        if layout
        else (),
    )


def draw_activations(draw: Draw, directions: int) -> dict[str, Any]:
    """The activations of all directions, with the constants of those that have some."""
    count = len(DEFAULTS[draw.name]) * directions
    if not draw.flag():
        return {}
    names = [draw.choice(ACTIVATIONS) for _ in range(count)]
    # These have no defaults.
    needed = "ScaledTanh" in names or "Affine" in names
    found: dict[str, Any] = {"activations": names}
    if needed or draw.flag():
        # No sum of drawn numbers is such a threshold.
        alphas = [draw.choice((0.3, 0.7, 1.1)) for name in names if name in WITH_ALPHA]
        betas = [draw.choice((0.2, 0.6, 0.9)) for name in names if name in WITH_BETA]
        found |= {"activation_alpha": alphas or None, "activation_beta": betas or None}
    return found
