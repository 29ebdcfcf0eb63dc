import numpy as np

from support.samples import Sample, f32


def u8(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(0, 255, shape).astype(np.uint8)


def i8(*shape: int, seed: int = 0) -> np.ndarray:
    # Seven bits: where a processor has no VNNI, ONNX Runtime's sums of two products of 8 bits each
    # saturate at 16.
    return np.random.default_rng([seed, *shape]).integers(-64, 64, shape).astype(np.int8)


GEMM = (7, 9, 11, 13)
TURNED = {"transA": 1, "transB": 1, "alpha": 0.5, "beta": -2.0}
SCALE = np.float32(0.02)

SAMPLES = [
    *(
        Sample("MatMul", (f32(*a), f32(*b, seed=1)), grad=(0, 1))
        for a, b in [
            ((2, 3), (3, 4)),
            ((3,), (3,)),
            ((3,), (2, 3, 4)),
            ((2, 2, 3), (3,)),
            ((2, 1, 2, 3), (4, 3, 2)),
        ]
    ),
    Sample("MatMul", (np.int64([[1 << 40, 3]]), np.int64([[5], [7]])), versions=(9, 13)),
    Sample("MatMul", (f32(4, 3).astype(np.float16), f32(3, 4).astype(np.float16)), rtol=1e-2),
    *(
        Sample("Gemm", (f32(2, 3), f32(3, 4), f32(*c)), kw, versions=GEMM, grad=(0, 1, 2))
        for c in [(2, 4), (4,), (2, 1), ()]
        for kw in ({}, {"beta": 0.5})
    ),
    Sample("Gemm", (f32(3, 2), f32(4, 3), f32(2, 4)), TURNED, versions=GEMM, grad=(0, 1, 2)),
    # ONNX Runtime starts at opset 7, and the reference forgets beta where `broadcast` is 0.
    *(
        Sample(
            "Gemm",
            (f32(3, 2), f32(4, 3), f32(*c)),
            TURNED | {"broadcast": len(c) == 1},
            versions=(1, 6),
            grad=(0, 1, 2),
            expected=lambda a, b, c: 0.5 * a.T @ b.T - 2 * c,
        )
        for c in [(2, 4), (4,)]
    ),
    Sample("Gemm", (f32(2, 3), f32(3, 4)), {"alpha": 3.0}, versions=(11, 13), grad=(0, 1)),
    Sample(
        "Gemm",
        (np.int32([[1, 2]]), np.int32([[3], [-4]]), np.int32([[7]])),
        {"alpha": 2.0, "beta": 3.0},
        versions=(9, 11, 13),
        # ONNX Runtime has no integer Gemm.
        expected=lambda a, b, c: 2 * a @ b + 3 * c,
    ),
    *(
        Sample(
            "Einsum", [f32(*s, seed=i) for i, s in enumerate(shapes)], {"equation": e}, grad=grad
        )
        for e, shapes, grad in [
            ("ij, jk -> ik", [(2, 3), (3, 4)], (0, 1)),
            ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)], (0, 1)),
            ("bij,bjk", [(2, 2, 3), (2, 3, 4)], (0, 1)),
            ("...ii->...i", [(2, 3, 3)], (0,)),
            ("i,i->", [(3,), (3,)], (0, 1)),
            ("ab,bc,cd->ad", [(2, 3), (3, 2), (2, 4)], (0, 1, 2)),
        ]
    ),
    Sample("Det", (f32(2, 3, 3),), grad=(0,), rtol=1e-4),
    Sample("Det", (f32(3, 3),), grad=(0,), rtol=1e-4),
    Sample("MatMulInteger", (u8(2, 3), u8(3, 4, seed=1))),
    Sample("MatMulInteger", (u8(2, 3), i8(3, 4), np.uint8(7), np.int8(-3))),
    Sample(
        "MatMulInteger", (u8(2, 2, 3), u8(2, 3, 4), np.uint8(7), np.uint8([[[1, 2, 3, 4]]] * 2))
    ),
    Sample(
        "MatMulInteger",
        (u8(2, 3), u8(3, 4), np.uint8([1, 2]), np.uint8([1, 2, 3, 4])),
        # ONNX Runtime has no zero point by row.
        expected=lambda a, b, x, y: (np.int32(a) - x[:, None]) @ (np.int32(b) - y),
    ),
    *(
        Sample(
            "QLinearMatMul",
            (u8(2, 3), SCALE, np.uint8(120), u8(3, 4), s, z, np.float32(0.03), np.uint8(110)),
        )
        for s, z in [
            (SCALE, np.uint8(130)),
            (np.float32([0.01, 0.02, 0.03, 0.04]), np.uint8([90, 100, 110, 120])),
        ]
    ),
    Sample(
        "QLinearMatMul",
        (i8(2, 3), SCALE, np.int8(2), i8(3, 4), SCALE, np.int8(-5), np.float32(0.5), np.int8(3)),
    ),
]
