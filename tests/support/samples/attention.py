import numpy as np
from onnx import TensorProto

from support.samples import Sample, f32, i64

# B = 2 sequences, H = 4 or 2 heads, S = 3 queries, T = 5 keys, D = 4 features.
Q, K, V = f32(2, 4, 3, 4), f32(2, 2, 5, 4, seed=1), f32(2, 2, 5, 6, seed=2)
PAST_K, PAST_V = f32(2, 2, 3, 4, seed=3), f32(2, 2, 3, 6, seed=4)
Q3, K3, V3 = f32(2, 3, 16), f32(2, 5, 8, seed=1), f32(2, 5, 12, seed=2)
BIAS = f32(2, 1, 3, 5, seed=5)
MASK = np.asarray([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
HIDING = np.where(MASK, f32(3, 5), -np.inf).astype(np.float32)
LENGTHS = i64(5, 2)
PACKED = {"q_num_heads": 4, "kv_num_heads": 2}
QKV = (0, 1, 2)

half = tuple(x.astype(np.float16) for x in (Q, K, V))


# LinearAttention: B = 2, S = 3, H = 4, of which 2 share a key head, D = 3, E = 2.
QUERY, KEY, VALUE = f32(2, 3, 12), f32(2, 3, 6, seed=1), f32(2, 3, 4, seed=2)
STATE, BETA = f32(2, 2, 3, 2), f32(2, 3, 2, low=0, high=1)
DECAY = f32(2, 3, 2, low=-2, high=0)
LINEAR = {"q_num_heads": 4, "kv_num_heads": 2}

SAMPLES = [
    Sample("Attention", (Q, K, V), grad=QKV),
    Sample("Attention", (Q3, K3, V3), PACKED, grad=QKV, versions=(25,)),
    Sample(
        "Attention",
        (Q, K, V, BIAS),
        {"scale": 0.3, "softcap": 2.0},
        grad=(0, 1, 2, 3),
        versions=(23, 25),
    ),
    Sample("Attention", (Q, K, V, MASK), grad=QKV, versions=(24,)),
    Sample("Attention", (Q, K, V, HIDING), grad=QKV, versions=(24,)),
    Sample("Attention", (Q, K, V), {"is_causal": 1}, grad=QKV, versions=(25,)),
    Sample("Attention", (Q, K, V, None, PAST_K, PAST_V), {"is_causal": 1}, 3, grad=(0, 1, 4, 5)),
    *(
        Sample(
            "Attention",
            (Q, K, V, BIAS),
            {"qk_matmul_output_mode": mode, "softcap": softcap},
            (True, False, False, True),
            # ONNX Runtime and the reference show softcapped products in mode 0.
            versions=(25,),
        )
        for mode, softcap in ((0, 0.0), (1, 1.5), (2, 1.5), (3, 0.0))
    ),
    Sample("Attention", half, rtol=2e-3, atol=2e-3),
    Sample("Attention", half, {"softmax_precision": TensorProto.FLOAT}, rtol=2e-3, atol=2e-3),
    # A mask of fewer keys than there are hides the others.
    Sample("Attention", (Q, K, V, MASK[:, :4]), versions=(24, 25)),
    Sample("Attention", (Q, K, V, None, None, None, LENGTHS), versions=(24, 25), grad=QKV),
    Sample(
        "Attention",
        (Q, K, V, None, None, None, LENGTHS),
        {"is_causal": 1},
        versions=(24, 25),
        grad=QKV,
    ),
    *(
        Sample(
            "Attention",
            (Q, K, V, MASK, *past),
            {"left_window_size": 1, "right_window_size": right, "is_causal": causal},
            versions=(25,),
            grad=QKV,
        )
        for past in ((), (None, None, LENGTHS))
        for right, causal in ((1, 0), (-1, 0), (2, 1))
    ),
    Sample("FlexAttention", (Q, K, V), domain="ai.onnx.preview", grad=QKV),
    *(
        Sample(
            "RotaryEmbedding",
            (x, f32(*caches, size // 2), f32(*caches, size // 2, seed=1), *ids),
            {"interleaved": interleaved, "rotary_embedding_dim": size % 6, **heads},
            grad=(0, 1, 2),
        )
        for x, heads in ((f32(2, 3, 4, 6), {}), (f32(2, 4, 18), {"num_heads": 3}))
        for caches, ids in (((2, 4), ()), ((7,), (i64([0, 1, 2, 6], [3, 3, 5, 0]),)))
        for interleaved in (0, 1)
        for size in (4, 6)
    ),
    *(
        Sample("LinearAttention", inputs, {**LINEAR, "update_rule": rule}, 2, grad=grad)
        for rule, grad, inputs in (
            ("linear", (0, 1, 2), (QUERY, KEY, VALUE)),
            ("gated", (0, 1, 2, 3, 4), (QUERY, KEY, VALUE, STATE, DECAY)),
            ("delta", (0, 1, 2, 5), (QUERY, KEY, VALUE, None, None, BETA)),
            ("gated_delta", (3, 4, 5), (QUERY, KEY, VALUE, STATE, DECAY, BETA)),
            ("gated", (4,), (QUERY, KEY, VALUE, STATE, f32(2, 3, 6, high=0))),
            ("delta", (5,), (QUERY, KEY, VALUE, STATE, None, f32(2, 3, 1, low=0))),
        )
    ),
    Sample(
        "LinearAttention", (QUERY, KEY, VALUE), {**LINEAR, "update_rule": "linear", "scale": 2.0}, 2
    ),
    *(
        Sample(
            "CausalConvWithState",
            inputs,
            {"activation": activation},
            2,
            grad=[i for i, x in enumerate(inputs) if x is not None],
        )
        for inputs in (
            (f32(2, 3, 5), f32(3, 1, 4)),
            (f32(2, 3, 5), f32(3, 1, 4), f32(3), f32(2, 3, 3)),
            (f32(2, 3, 2), f32(3, 1, 4), None, f32(2, 3, 3)),
        )
        for activation in ("none", "silu", "swish")
    ),
]
