import functools
from collections.abc import Callable

import numpy as np

from support.samples import Sample, f32

Microsoft = functools.partial(Sample, domain="com.microsoft", rtol=1e-4, atol=1e-5)
SIGNAL, TAPS, BIAS = f32(2, 3, 5), f32(3, 1, 4), f32(3)
BEFORE, BEFORE_2 = f32(2, 3, 3), f32(2, 3, 6)

# LinearAttention: B = 2, S = 5, 4 query heads that share 2 of keys or the other way, D = 3, E = 2.
QUERY, KEY, VALUE = f32(2, 5, 12), f32(2, 5, 6, seed=1), f32(2, 5, 4, seed=2)
STATE = f32(2, 2, 3, 2)
DECAY, BETA = f32(2, 5, 2, high=0.0), f32(2, 5, 2, low=0.0, high=1.0)
HEADS = {"q_num_heads": 4, "kv_num_heads": 2}
INVERSE = {"q_num_heads": 2, "kv_num_heads": 4}

# GatedDeltaNet: 6 tokens of 2 sequences, 2 heads of keys for 4 of values.
Q, K, V = f32(6, 2, 3), f32(6, 2, 3, seed=1), f32(6, 4, 2)
GATES = (f32(6, 4, high=0.0), f32(6, 4, low=0.0, high=1.0))
STATES = f32(2, 4, 2, 3)
RATES = f32(4)
NORM = {"qk_l2_norm": 1}
BOUNDS = np.int32([0, 2, 6])


def last_states(window: int, states: list[np.ndarray]) -> np.ndarray:
    """The last `window` of the states, after zeros if there are fewer."""
    return np.stack([np.zeros_like(states[0])] * max(0, window - len(states)) + states[-window:])


def convolution(
    window: int,
) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Convolution with the last states of 3 inputs each."""

    def function(x: np.ndarray, w: np.ndarray, b: np.ndarray, past: np.ndarray) -> tuple:
        states, outputs = [past[-1]], []
        for now in np.moveaxis(x, 2, 0):
            seen = np.concatenate([states[-1], now[..., None]], 2)
            outputs.append((seen * w[:, 0]).sum(2) + b)
            states.append(seen[:, :, 1:])
        return np.stack(outputs, 2), last_states(window, states[1:])

    return function


def recurrence(
    window: int,
) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The gated delta rule with the last states."""

    def function(q: np.ndarray, k: np.ndarray, v: np.ndarray, past: np.ndarray, *gates) -> tuple:
        states, outputs = [past[-1]], []
        for t in range(5):
            query, key = q[:, t].reshape(2, 2, 2, 3), k[:, t].reshape(2, 2, 3)
            value, decay, beta = v[:, t].reshape(2, 2, 2), gates[0][:, t], gates[1][:, t, :, None]
            state = states[-1] * np.exp(decay)[..., None, None]
            delta = beta * (value - (key[..., None] * state).sum(2))
            state = state + key[..., None] * delta[..., None, :]
            states.append(state)
            outputs.append((query @ state).reshape(2, -1) / np.sqrt(np.float32(3)))
        return np.stack(outputs, 1), last_states(window, states[1:])

    return function


SAMPLES = [
    *(
        Microsoft("CausalConvWithState", inputs, options, 2, grad=range(len(inputs)))
        for inputs, options in (
            ((SIGNAL, TAPS), {}),
            ((SIGNAL, TAPS, BIAS, BEFORE), {"activation": "silu"}),
            ((SIGNAL, TAPS, BIAS), {"dilation": 2}),
            ((SIGNAL[:, :, :2], TAPS, BIAS, BEFORE_2), {"dilation": 2, "activation": "swish"}),
            ((f32(2, 5, 3), TAPS, BIAS, f32(2, 3, 3)), {"channels_last": 1}),
        )
    ),
    Microsoft(
        "CausalConvWithState",
        (f32(2, 5, 2, 3), f32(6, 1, 4), None, f32(2, 3, 2, 3)),
        {"channels_last": 1},
        2,
    ),
    # ONNX Runtime keeps several states on a GPU only.
    *(
        Microsoft(
            "CausalConvWithState",
            (SIGNAL, TAPS, BIAS, f32(window, 2, 3, 3)),
            {"state_window": window},
            2,
            expected=convolution(window),
            grad=(0, 1, 3),
        )
        for window in (2, 7)
    ),
    *(
        Microsoft("LinearAttention", inputs, {**HEADS, "update_rule": rule, **more}, 2, grad=grad)
        for rule, grad, inputs, more in (
            ("linear", (0, 1, 2), (QUERY, KEY, VALUE), {"scale": 0.7}),
            ("gated", (0, 1, 2, 4), (QUERY, KEY, VALUE, None, f32(2, 5, 6, high=0.0)), {}),
            ("delta", (0, 1, 2, 5), (QUERY, KEY, VALUE, None, None, f32(2, 5, 1, low=0.0)), {}),
            ("gated_delta", (0, 3, 4, 5), (QUERY, KEY, VALUE, STATE, DECAY, BETA), {}),
            ("gated", (3,), (QUERY, KEY, VALUE, STATE, DECAY, BETA), {}),
        )
    ),
    *(
        Microsoft(
            "LinearAttention",
            (f32(2, 5, 6), key, f32(2, 5, 8), None, f32(2, 5, 4, high=0.0), f32(2, 5, 4, low=0.0)),
            INVERSE,
            2,
            grad=(0, 1, 2, 4, 5),
        )
        for key in (f32(2, 5, 12, seed=1), f32(2, 5, 6, seed=1))
    ),
    *(
        Microsoft(
            "LinearAttention",
            (QUERY, KEY, VALUE, f32(window, 2, 2, 3, 2), DECAY, BETA),
            {**HEADS, "state_window": window},
            2,
            expected=recurrence(window),
            grad=(0, 1, 2, 3, 4, 5),
        )
        for window in (1, 3, 7)
    ),
    *(
        Microsoft("GatedDeltaNet", inputs, {**NORM, **options}, 2, grad=grad)
        for inputs, options, grad in (
            ((Q, K, V, None, *GATES, STATES), {}, (0, 1, 2, 4, 5, 6)),
            ((Q, K, V, None, None, None, STATES), {"update_rule": "linear"}, (0, 1, 2, 6)),
            ((Q, K, V, None, GATES[0], None, STATES), {"update_rule": "gated"}, (4,)),
            ((Q, K, V, None, None, GATES[1], STATES), {"update_rule": "delta"}, (5,)),
            ((1e-5 * Q, 1e-5 * K, V, None, *GATES, STATES), {}, ()),
            ((f32(6, 20), None, None, None, *GATES, STATES), {"scale": 0.3}, (0, 4, 5, 6)),
            ((Q, K, V, None, f32(6, 4, 3, high=0.0), GATES[1], STATES), {}, (4,)),
            (
                (Q, K, V, None, *GATES, STATES, RATES, f32(4)),
                {"gate_activation": "softplus", "beta_activation": "sigmoid"},
                (0, 4, 5, 7, 8),
            ),
            (
                (Q, K, V, None, f32(6, 4, 3), GATES[1], STATES, RATES, f32(4, 3)),
                {"gate_activation": "qwen"},
                (4, 7, 8),
            ),
            (
                (Q, K, V, None, *GATES, STATES, RATES, f32(4)),
                {"gate_activation": "kda", "gate_lower_bound": -2.0},
                (4, 7, 8),
            ),
            (
                (1e-3 * Q, 1e-2 * K, V, None, *GATES, STATES, RATES, f32(4)),
                {"gate_activation": "sigmoid"},
                (),
            ),
            ((Q, K, V, BOUNDS, *GATES, STATES), {}, (0, 1, 2, 4, 5, 6)),
            ((Q, K, V, np.int32([0, 0, 5, 6]), *GATES), {}, (0, 1, 2, 4, 5)),
            (
                (
                    *(x.reshape(2, 3, *x.shape[1:]) for x in (Q, K, V)),
                    None,
                    *(x.reshape(2, 3, 4) for x in GATES),
                    STATES,
                ),
                {},
                (0, 1, 2, 4, 5, 6),
            ),
        )
    ),
    Microsoft(
        "GatedDeltaNet",
        (*(x.astype(np.float16) for x in (Q, K, V)), None, *GATES, STATES),
        NORM,
        2,
        rtol=2e-3,
        atol=2e-3,
    ),
]
