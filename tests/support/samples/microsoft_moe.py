import functools
from typing import Any

import numpy as np

from support.samples import Sample, f32

Microsoft = functools.partial(Sample, domain="com.microsoft", rtol=1e-4, atol=1e-4)
# T = 5 tokens of H = 8 features, E = 4 experts of I = 6.
X, ROUTER = f32(5, 8), f32(5, 4, seed=3)
W1, B1, W2, B2 = f32(4, 6, 8), f32(4, 6), f32(4, 8, 6), f32(4, 8)
W3, B3 = f32(4, 6, 8, seed=1), f32(4, 6, seed=1)
WIDE, WIDE_BIAS = f32(4, 12, 8), f32(4, 12)
SWIGLU = {"activation_type": "swiglu", "swiglu_fusion": 1}


def expert(x: np.ndarray, e: int, act: Any, fusion: int | None, *tensors: Any) -> np.ndarray:
    """Output of one expert for one token, by arrays in the order of the operator's."""
    w1, b1, w2, b2, w3, b3 = (None if t is None else t[e] for t in tensors)
    first = w1 @ x + b1
    inner = {
        None: lambda: [first],
        0: lambda: [first, w3 @ x + b3],
        1: lambda: [first[::2], first[1::2]],
        2: lambda: np.split(first, 2),
    }[fusion]()
    return w2 @ act(*inner) + b2


def mixed(act: Any, fusion: int | None = 0) -> Any:
    """The mixture of the two best experts, by an activation of one or two projections."""

    def function(x: np.ndarray, router: np.ndarray, *tensors: np.ndarray) -> np.ndarray:
        tensors = (*tensors, None, None)[:6]
        weights = np.exp(router) / np.exp(router).sum(1, keepdims=True)
        rows = [
            sum(p[e] * expert(token, e, act, fusion, *tensors) for e in np.argsort(p)[-2:])
            for token, p in zip(x, weights, strict=True)
        ]
        return np.stack(rows).astype(np.float32)

    return function


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def clipped_after(x: np.ndarray, linear: np.ndarray) -> np.ndarray:
    return np.minimum(x * sigmoid(x), 0.5) * np.clip(linear, -0.5, 0.5)


def geglu(x: np.ndarray, linear: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) * linear


def swiglu(x: np.ndarray, linear: np.ndarray) -> np.ndarray:
    return x * sigmoid(x) * linear


def packed(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape).astype(np.uint8)


def quantized(bits: int, blocks: int, zero: bool, fused: bool, biased: bool) -> list:
    """Inputs of E = 4 experts with H = 64 and I = 32; a scale for a row, or for blocks of 16."""
    width, inner, rows = 64, 32, 64 if fused else 32
    scale = 0.002 * 2.0 ** (4 - bits)

    def scales(rows: int, size: int) -> np.ndarray:
        shape = (4, rows, size // 16) if blocks else (4, rows)
        return f32(*shape, low=scale, high=5 * scale)

    def zeros(rows: int, size: int) -> np.ndarray | None:
        packs = (4, rows, -(-size // 16 * bits // 8)) if blocks else (4, rows * bits // 8)
        return packed(*packs) if zero else None

    return [
        f32(5, width),
        ROUTER,
        packed(4, rows, width * bits // 8),
        scales(rows, width),
        f32(4, rows) if biased else None,
        packed(4, width, inner * bits // 8),
        scales(width, inner),
        f32(4, width) if biased else None,
        None,
        None,
        None,
        zeros(rows, width),
        zeros(width, inner),
    ]


SAMPLES = [
    *(
        Microsoft(
            "MoE",
            (X, ROUTER, W1, B1, W2, B2),
            {"activation_type": activation, "k": 2},
            grad=(0, 1, 2, 3, 4, 5),
        )
        for activation in ("relu", "gelu", "silu", "identity")
    ),
    Microsoft("MoE", (X, ROUTER, W1, None, W2), grad=(0, 1)),
    # Of experts that are equally good, the last ones are taken.
    Microsoft("MoE", (X, np.zeros((5, 4), np.float32), W1, B1, W2, B2), {"k": 3}),
    Microsoft(
        "MoE",
        (X[None], ROUTER, W1, None, W2, B2),
        {"k": 3, "normalize_routing_weights": 1},
        grad=(0, 1, 2),
    ),
    Microsoft("MoE", (X, ROUTER, WIDE, WIDE_BIAS, W2, B2), {**SWIGLU, "k": 2}, grad=(0, 2, 3)),
    Microsoft(
        "MoE",
        (X, ROUTER, WIDE, None, W2),
        {
            **SWIGLU,
            "k": 2,
            "activation_alpha": 1.7,
            "activation_beta": 1.0,
            "swiglu_limit": 1.5,
        },
    ),
    # Other forms of two projections are for a GPU only in ONNX Runtime.
    *(
        Microsoft(
            "MoE",
            (X, ROUTER, WIDE, WIDE_BIAS, W2, B2),
            {"k": 2, "swiglu_fusion": fusion, **options},
            expected=mixed(function, fusion),
            grad=(0, 1),
        )
        for function, fusion, options in (
            (swiglu, 2, {"activation_type": "swiglu"}),
            (geglu, 1, {"activation_type": "geglu"}),
            (geglu, 2, {"activation_type": "geglu"}),
            (
                clipped_after,
                1,
                {
                    "activation_type": "swiglu",
                    "swiglu_limit": 0.5,
                    "swiglu_limit_after_activation": 1,
                },
            ),
        )
    ),
    *(
        Microsoft(
            "MoE",
            (X, ROUTER, W1, B1, W2, B2, W3, B3),
            {"k": 2, "activation_type": name},
            expected=mixed(swiglu),
            grad=(0, 1, 2, 6, 7),
        )
        for name in ("swiglu", "silu")
    ),
    Microsoft(
        "MoE",
        (X, ROUTER, W1, B1, W2, B2),
        {"k": 2, "activation_type": "relu2"},
        expected=mixed(lambda x: np.maximum(x, 0) ** 2, None),
    ),
    *(
        Microsoft(
            "QMoE",
            quantized(bits, blocks, zero, fused, biased),
            {
                "k": 2,
                "expert_weight_bits": bits,
                **({"block_size": 16} if blocks else {}),
                **(SWIGLU if fused else {"activation_type": "silu"}),
                "normalize_routing_weights": int(fused),
            },
            grad=(0, 1, 3, 6, *(4, 7) * biased) if bits == 2 else (0, 1),
        )
        for bits in (2, 4, 8)
        for blocks, zero, fused, biased in (
            (0, False, False, True),
            (0, True, True, False),
            (1, False, True, True),
            (1, True, False, False),
        )
    ),
    *(
        Microsoft(
            "QMoE",
            (*quantized(4, 0, False, True, True), None, f32(5, 4, low=0.1, seed=5)),
            {**SWIGLU, "k": 2, "normalize_routing_weights": normalize},
            grad=(0, 14),
        )
        for normalize in (0, 1)
    ),
]
