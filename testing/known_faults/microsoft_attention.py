"""Faults in attention in ONNX Runtime's domain."""

from __future__ import annotations

import numpy as np

from onnxla.testing.arrays import ones
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import enabled, operand, output, rank
from onnxla.testing.use import example

DOMAIN = "com.microsoft"


# Whether there are a past and an attention_bias.
past_and_bias = operand(4) & operand(5)
# Whether past and present are one buffer.
shared_buffer = enabled("past_present_share_buffer")


# Whether queries, or keys, and values are side by side in a tensor of five axes.
packed = rank(5) | rank(5, of=1)
# Whether there is a past, but present keys and values are not both outputs.
past_without_present = operand(6) & ~(output(1) & output(2))


# Whether query, key and value are side by side.
one_tensor = ~operand(1)
# Whether there is a past that is not a buffer.
past_without_buffer = operand(5) & ~shared_buffer


FAULTS = [
    Fault(
        "onnxruntime",
        "Attention",
        "refuses `past` together with `attention_bias`",
        "attention_bias is an 'additional add to QxK' with shape (batch_size or 1, num_heads or 1, "
        "sequence_length, total_sequence_length)', where 'total_sequence_length is "
        "past_sequence_length + kv_sequence_length'.",
        past_and_bias,
        lambda: example(
            "Attention",
            1,
            ones(1, 1, 1),
            ones(1, 3),
            None,
            None,
            ones(2, 1, 1, 1, 1),
            ones(1, 1, 1, 2),
            domain=DOMAIN,
            outputs=2,
            ranks={"y0": 3, "y1": 5},
            num_heads=1,
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "Attention",
        "says that past_sequence_length, of one element, ought to have one, if past and present "
        "share a buffer",
        "'When past_present_share_buffer is used, it is required to specify past_sequence_length "
        "(could be 0).' The kernel is for a GPU only.",
        shared_buffer,
        lambda: example(
            "Attention",
            1,
            ones(1, 1, 1),
            ones(1, 3),
            None,
            None,
            ones(2, 1, 1, 2, 1),
            None,
            np.array([1], np.int32),
            domain=DOMAIN,
            outputs=2,
            ranks={"y0": 3, "y1": 5},
            num_heads=1,
            past_present_share_buffer=1,
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "MultiHeadAttention",
        "does not implement packed keys and values on a CPU, and says so when it runs",
        "'packed QKV with shape (batch_size, kv_sequence_length, num_heads, 3, head_size)', "
        "'packed KV with shape (batch_size, kv_sequence_length, num_heads, 2, head_size)'",
        packed,
        lambda: example(
            "MultiHeadAttention",
            1,
            ones(1, 1, 1, 3, 1),
            domain=DOMAIN,
            ranks={"y0": 3},
            num_heads=1,
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "MultiHeadAttention",
        "attends to uninitialized memory in place of the past, unless both present_key and "
        "present_value are outputs",
        "present_key and present_value are optional; past_key is the 'past state for key', and "
        "nothing says that it counts less without them.",
        past_without_present,
        lambda: example(
            "MultiHeadAttention",
            1,
            *(ones(1, 2, 2) * x for x in (1, 2, 3)),
            *[None] * 3,
            *(ones(1, 1, 3, 2) * x for x in (4, -5)),
            domain=DOMAIN,
            ranks={"y0": 3},
            num_heads=1,
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "DecoderMaskedMultiHeadAttention",
        "fails if query, key and value are one tensor",
        "'packed QKV with shape (batch_size, 1, 2 * hidden_size + v_hidden_size)'",
        one_tensor,
        lambda: example(
            "DecoderMaskedMultiHeadAttention",
            1,
            ones(1, 1, 3),
            *[None] * 4,
            *[ones(1, 1, 2, 1)] * 2,
            np.array([1], np.int32),
            domain=DOMAIN,
            outputs=3,
            ranks={"y0": 3, "y1": 4, "y2": 4},
            num_heads=1,
            past_present_share_buffer=1,
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "DecoderMaskedMultiHeadAttention",
        "fails unless past and present share a buffer",
        "'past state for key with shape (batch_size, num_heads, past_sequence_length, head_size) "
        "for self attention. When past_present_share_buffer is set, its shape is' another one.",
        past_without_buffer,
        lambda: example(
            "DecoderMaskedMultiHeadAttention",
            1,
            *[ones(1, 1, 1)] * 3,
            None,
            None,
            *[ones(1, 1, 2, 1)] * 2,
            domain=DOMAIN,
            outputs=3,
            ranks={"y0": 3, "y1": 4, "y2": 4},
            num_heads=1,
        ),
        DOMAIN,
    ),
]
