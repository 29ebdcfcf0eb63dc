"""Mixtures of experts, whose weights may be quantized, in ONNX Runtime's domain.

Letters: T tokens, H features of a token, E experts, I features inside of an expert, F = 2 * I where
two projections are fused, else I.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.microsoft_quantized import DOMAIN
from onnxla.testing.use import Use

Array = np.ndarray
ACTIVATIONS = ("relu", "gelu", "silu", "identity", "swiglu", "swiglu", "swiglu", "relu2", "geglu")


def router(draw: Draw, operand: str, tokens: int, experts: int) -> Array:
    """Numbers of which no two of a row are equal, so that it is clear which are the largest."""
    rows = [draw.tensor(operand, (experts,), distinct=True) for _ in range(tokens)]
    return np.stack(rows)


def options(draw: Draw, experts: int) -> tuple[dict[str, Any], int, bool]:
    """Attributes, how many projections are fused into the first one, and if there is a third."""
    activation = draw.choice((None, *ACTIVATIONS))
    attributes: dict[str, Any] = {
        "activation_type": activation,
        "k": draw.integer(1, experts) if draw.flag() else None,
        "normalize_routing_weights": draw.choice((None, 0, 1)),
    }
    if activation == "swiglu":
        attributes |= {
            "swiglu_fusion": draw.choice((1, 1, 2, 0)),
            "activation_alpha": draw.choice((None, 1.7)),
            "activation_beta": draw.choice((None, 1.0)),
            "swiglu_limit": draw.choice((None, 0.5)),
            "swiglu_limit_after_activation": draw.choice((None, 0, None, 0, 1)),
        }
    elif activation == "geglu":
        attributes["swiglu_fusion"] = draw.choice((1, 2))
    fusion = attributes.get("swiglu_fusion")
    third = fusion == 0
    return attributes, 2 if fusion else 1, third


def tokens_of(draw: Draw) -> tuple[int, ...]:
    """The leading axes of the input: (T) or (B, S)."""
    return (draw.integer(1, 4),) if draw.flag() else (draw.integer(1, 2), draw.integer(1, 3))


@strategy("MoE", domain=DOMAIN)
def moe(draw: Draw) -> Use:
    """Input (T, H) or (B, S, H), weights (E, F, H), (E, H, I) and perhaps (E, I, H)."""
    experts, size, inner = draw.integer(1, 4), draw.integer(1, 5), draw.integer(1, 5)
    attributes, fused, third = options(draw, experts)
    outer = tokens_of(draw)
    rows = (fused * inner, size, inner)
    columns = (size, inner, size)
    operands: list[Array | None] = [
        draw.tensor("input", (*outer, size), -1, 1),
        router(draw, "router_probs", int(np.prod(outer)), experts),
    ]
    for i in range(3 if third else 2):
        name = f"fc{i + 1}_experts"
        operands.append(draw.tensor(f"{name}_weights", (experts, rows[i], columns[i]), -1, 1))
        operands.append(
            draw.tensor(f"{name}_bias", (experts, rows[i]), -1, 1) if draw.flag() else None
        )
    return draw.use(operands, attributes, ranks={"y0": len(outer) + 1}, batch=(0, 1))


@strategy("QMoE", domain=DOMAIN)
def qmoe(draw: Draw) -> Use:
    """Input (T, H) or (B, S, H), and weights (E, F, H), (E, H, I) and perhaps (E, I, H), packed.

    Scales are (E, N) for N rows, or (E, N, blocks); zero points are packed likewise.
    """
    experts = draw.integer(1, 4)
    blocks = draw.choice((None, 16, 32))
    size, inner = (blocks or 8) * draw.integer(1, 2), (blocks or 8) * draw.integer(1, 2)
    attributes, fused, third = options(draw, experts)
    outer = tokens_of(draw)
    tokens = int(np.prod(outer))
    rows = (fused * inner, size, inner)
    columns = (size, inner, size)
    bits = draw.choice((None, 4, 2, 8))
    own: list[int | None] = [None] * 3
    if draw.choice((False, False, False, True)):
        own = [draw.choice((None, 2, 4, 8)) for _ in range(2)] + [None]
    dtype = draw.dtype("input")
    operands: list[Array | None] = [
        draw.tensor("input", (*outer, size), -1, 1),
        router(draw, "router_probs", tokens, experts),
    ]
    zeros: list[Array | None] = []
    with_zeros = draw.flag()
    for i in range(3):
        if i == 2 and not third:
            operands += [None] * 3
            zeros.append(None)
            continue
        width = own[i] or bits or 4
        scales = (experts, rows[i], columns[i] // blocks) if blocks else (experts, rows[i])
        # Half the range of the integers stands for about a half.
        most = 2.0**-width
        operands += [
            draw.array(np.uint8, (experts, rows[i], columns[i] * width // 8), 0, 255),
            draw.array(dtype, scales, most / 4, most),
            draw.array(dtype, (experts, rows[i]), -1, 1) if draw.flag() else None,
        ]
        packed = (
            (experts, rows[i], -(-columns[i] // blocks * width // 8))
            if blocks
            else (experts, -(-rows[i] * width // 8))
        )
        zeros.append(draw.array(np.uint8, packed, 0, 255) if with_zeros else None)
    weights = draw.maybe(lambda: draw.array(dtype, (tokens, experts), 0.125, 1))
    attributes |= {
        "block_size": blocks,
        "expert_weight_bits": bits,
        "quant_type": draw.choice((None, "int")),
        "accuracy_level": draw.choice((None, 0, 1)),
        "weights_prepacked": draw.choice((None, 0)),
    } | {f"fc{i + 1}_expert_weight_bits": b for i, b in enumerate(own)}
    batch = (0, 1) if weights is None else (0, 1, 14)
    # For blocks, ONNX Runtime may compute with 8 bits of the input unless weights have 4.
    rounds = blocks is not None and {own[0] or bits, own[1] or bits} & {2, 8}
    return draw.use(
        [*operands, *zeros, weights],
        attributes,
        ranks={"y0": len(outer) + 1},
        rtol=3e-2 if rounds else 1e-5,
        batch=batch,
    )
