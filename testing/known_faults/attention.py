"""Faults in attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxla.testing.arrays import ones, rising
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, size
from onnxla.testing.use import example


def growing(*shape: int) -> np.ndarray:
    """A tensor of different numbers."""
    return rising(*shape) / np.float32(4)


def sizes(case: Case) -> tuple[int, int, int]:
    """How many sequences, queries and keys there are, those of the past included."""
    q, k = case.operands[:2]
    past = optional(case, 4)
    return q.shape[0], q.shape[-2], k.shape[-2] + (0 if past is None else past.shape[2])


def optional(case: Case, position: int) -> Any:
    """An operand, or None where it is absent."""
    return (case.operands + [None] * 7)[position]


@When
def windowed(case: Case) -> bool:
    """Whether a side of the window is limited."""
    return any(case.attributes.get(f"{s}_window_size", -1) >= 0 for s in ("left", "right"))


@When
def causal_without_queries(case: Case) -> bool:
    """Whether a causal mask is added to one that has not an axis of all queries."""
    mask = optional(case, 3)
    return (
        bool(case.attributes.get("is_causal"))
        and mask is not None
        and not windowed(case)
        and (mask.ndim < 2 or mask.shape[-2] != sizes(case)[1])
    )


@When
def one_for_all_keys(case: Case) -> bool:
    """Whether version 23 has a mask whose last axis is 1, to be broadcast."""
    mask = optional(case, 3)
    return case.version == 23 and mask is not None and mask.shape[-1] == 1 != sizes(case)[2]


@When
def mask_without_queries(case: Case) -> bool:
    """Whether the mask has no axis of all queries, but is to be broadcast along it."""
    mask = optional(case, 3)
    return mask is not None and (mask.ndim < 2 or mask.shape[-2] != sizes(case)[1])


@When
def empty(case: Case) -> bool:
    """Whether there are no sequences, queries or new keys."""
    return 0 in sizes(case)[:2] or case.operands[1].shape[-2] == 0


@When
def mask_of_fewer_keys(case: Case) -> bool:
    """Whether the mask has not all keys, and the sequences are not said to be shorter."""
    mask = optional(case, 3)
    return mask is not None and mask.shape[-1] != sizes(case)[2] and optional(case, 6) is None


@When
def shows_hidden_scores(case: Case) -> bool:
    """Whether scores are shown of which some may be hidden."""
    hides = any(optional(case, i) is not None for i in (3, 6))
    return (
        len(case.node.output) > 3
        and case.attributes.get("qk_matmul_output_mode") == 2
        and (hides or windowed(case) or bool(case.attributes.get("is_causal")))
    )


@When
def no_keys(case: Case) -> bool:
    """Whether there are queries, but no key."""
    return sizes(case)[2] == 0


@When
def packed_and_empty(case: Case) -> bool:
    """Whether packed operands have no query."""
    return case.operands[0].ndim == 3 and 0 in sizes(case)[:2]


@When
def shows_capped_products(case: Case) -> bool:
    """Whether mode 0 shows products that are capped afterwards."""
    return (
        len(case.node.output) > 3
        and not case.attributes.get("qk_matmul_output_mode")
        and case.attributes.get("softcap", 0) > 0
    )


def fault(
    runtime: str,
    what: str,
    text: str,
    when: Callable[[Case], bool],
    make: Callable[[], Case],
    op_type: str = "Attention",
    domain: str = "",
) -> Fault:
    """A fault of attention."""
    return Fault(runtime, op_type, what, text, when, make, domain)


FAULTS = [
    fault(
        "reference",
        "applies the causal mask as if there were as many queries as `attn_mask` has rows, though "
        "that may be broadcast",
        "'Shape must be broadcastable to (batch_size, q_num_heads, q_sequence_length, "
        "total_sequence_length)' and 'query `i` attends key `j` iff `j <= i + offset`'.",
        causal_without_queries,
        lambda: example(
            "Attention",
            24,
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            np.zeros((1, 2), np.float32),
            is_causal=1,
        ),
    ),
    fault(
        "reference",
        "pads a mask whose last axis is 1 in version 23, where it is to be broadcast",
        "'Shape must be broadcastable to 4D tensor with shape (batch_size, q_num_heads, "
        "q_sequence_length, total_sequence_length)': only version 24 adds that 'the last dimension "
        "can also be shorter than total_sequence_length and will be padded'.",
        one_for_all_keys,
        lambda: example(
            "Attention",
            23,
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            np.zeros((2, 1), np.float32),
        ),
    ),
    fault(
        "reference",
        "fails where there are no keys",
        "'A fully-masked query row (no key attended ...) produces a zero output row, not NaN'.",
        no_keys,
        lambda: example("Attention", 24, ones(1, 1, 2, 1), ones(1, 1, 0, 1), ones(1, 1, 0, 1)),
    ),
    fault(
        "reference",
        "fails for packed heads where there are no queries",
        "'3D tensor with shape (batch_size, q_sequence_length, q_hidden_size)', of which no axis "
        "must be other than 0.",
        packed_and_empty,
        lambda: example(
            "Attention",
            24,
            ones(0, 2, 1),
            ones(0, 2, 1),
            ones(0, 2, 1),
            q_num_heads=1,
            kv_num_heads=1,
        ),
    ),
    fault(
        "reference",
        "shows capped products as those before `softcap`",
        "'If set to `0`, qk_matmul_output is the output of qk matmul. If set to `1`, "
        "qk_matmul_output is the output after the softcap operation'.",
        shows_capped_products,
        lambda: example(
            "Attention",
            24,
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            outputs=[True, False, False, True],
            ranks={"y3": 4},
            softcap=0.5,
        ),
    ),
    fault(
        "onnxruntime",
        "rejects empty operands",
        "No axis of '(batch_size, q_num_heads, q_sequence_length, head_size)' must be other than "
        "0, and 'a fully-masked query row (no key attended ...) produces a zero output row'.",
        empty,
        lambda: example("Attention", 24, ones(1, 1, 2, 1), ones(1, 1, 0, 1), ones(1, 1, 0, 1)),
    ),
    fault(
        "onnxruntime",
        "rejects a mask that is to be broadcast along the queries",
        "'Shape must be broadcastable to (batch_size, q_num_heads, q_sequence_length, "
        "total_sequence_length)'.",
        mask_without_queries,
        lambda: example(
            "Attention",
            24,
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            np.zeros((1, 2), np.float32),
        ),
    ),
    fault(
        "onnxruntime",
        "rejects a mask of fewer keys than there are",
        "'The last dimension can also be shorter than total_sequence_length and will be padded "
        "to total_sequence_length with negative infinity'; and in version 23 it is broadcast.",
        mask_of_fewer_keys,
        lambda: example(
            "Attention",
            24,
            growing(1, 1, 2, 1),
            growing(1, 1, 3, 1),
            growing(1, 1, 3, 1),
            np.zeros((2, 2), np.float32),
        ),
    ),
    fault(
        "onnxruntime",
        "shows the least number of the type, not -inf, as the score of a hidden key",
        "'its disallowed positions contribute `-inf` to the bias', and mode 2 is 'QK + softcap + "
        "bias'.",
        shows_hidden_scores,
        lambda: example(
            "Attention",
            24,
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            growing(1, 1, 2, 1),
            outputs=[True, False, False, True],
            ranks={"y3": 4},
            is_causal=1,
            qk_matmul_output_mode=2,
        ),
    ),
    fault(
        "reference",
        "fails where there are no keys",
        "'Probs = Softmax(Scores, axis=-1)' and 'Y = Probs @ V': a product over no keys is 0.",
        no_keys,
        lambda: example(
            "FlexAttention",
            1,
            ones(1, 1, 2, 1),
            ones(1, 1, 0, 1),
            ones(1, 1, 0, 1),
            domain="ai.onnx.preview",
        ),
        op_type="FlexAttention",
        domain="ai.onnx.preview",
    ),
    fault(
        "onnxruntime",
        "rejects position_ids where the caches have fewer rows than there are tokens",
        "The caches are '2D tensor with shape (max_position_id_plus_1, head_size / 2)', and "
        "positions may repeat.",
        lambda case: (
            optional(case, 3) is not None and case.operands[1].shape[0] < case.operands[3].shape[1]
        ),
        lambda: example(
            "RotaryEmbedding",
            23,
            ones(1, 1, 2, 2),
            ones(1, 1),
            ones(1, 1),
            np.zeros((1, 2), np.int64),
        ),
        op_type="RotaryEmbedding",
    ),
    *(
        fault(
            runtime,
            f"{what} where there are no channels",
            "'Input tensor with shape (batch_size, channels, length)', of which no axis must be "
            "other than 0.",
            size(1, 0),
            lambda: example("CausalConvWithState", 27, ones(1, 0, 2), ones(0, 1, 1), outputs=2),
            op_type="CausalConvWithState",
        )
        for runtime, what in (("reference", "fails"), ("onnxruntime", "crashes"))
    ),
    Fault(
        "version converter",
        "Attention",
        "leaves a mask of opset 23 as it is, though one shorter than the keys means another",
        "Opset 23: 'Shape must be broadcastable to 4D tensor with shape `(batch_size, q_num_heads, "
        "q_sequence_length, total_sequence_length)`', so that one of size 1 holds for all keys. "
        "Opset 24: 'The last dimension can also be shorter than `total_sequence_length` "
        "and will be padded to `total_sequence_length` with negative infinity'.",
        one_for_all_keys,
        lambda: example(
            "Attention",
            23,
            ones(1, 1, 2, 1),
            ones(1, 1, 2, 1),
            np.array([[[[1.0], [2.0]]]], np.float32),
            np.zeros((2, 1), np.float32),
        ),
    ),
]
