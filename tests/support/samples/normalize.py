import numpy as np

from support.samples import Sample, f32

IMAGE = f32(2, 4, 3, 5)
PER_CHANNEL = (f32(4, seed=1), f32(4, seed=2))
STATISTICS = (f32(4, seed=3), f32(4, low=0.5, seed=4))
HALF = [x.astype(np.float16) for x in (IMAGE, *PER_CHANNEL, *STATISTICS)]
ALL = (0, 1, 2, 3, 4)


def batch(axes, momentum):
    """Outputs in training, as the text of every version has them."""

    def outputs(x, scale, bias, mean, var):
        shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
        m, v = x.mean(axes), x.var(axes)
        y = (x - m.reshape(shape)) / np.sqrt(v.reshape(shape) + 1e-5)
        y = y * scale.reshape(shape) + bias.reshape(shape)
        running = (a * momentum + b * (1 - momentum) for a, b in ((mean, m), (var, v)))
        return tuple(np.asarray(r, np.float32) for r in (y, *running, m, v))

    return outputs


SAMPLES = [
    *(
        Sample(
            "BatchNormalization",
            (x, *PER_CHANNEL, *STATISTICS),
            {"epsilon": 1e-3},
            versions=(7, 9, 14, 15),
            grad=ALL,
        )
        for x in (IMAGE, f32(3, 4), f32(2, 4, 3))
    ),
    Sample("BatchNormalization", HALF, versions=(9, 14, 15), rtol=1e-2, atol=1e-2),
    Sample(
        "BatchNormalization",
        (IMAGE, *PER_CHANNEL, *STATISTICS),
        {"training_mode": 1, "momentum": 0.8},
        3,
        versions=(14, 15),
        grad=ALL,
        atol=1e-5,
    ),
    # Other runtimes have no training form of the earlier versions, nor any of 1 and 6.
    Sample(
        "BatchNormalization",
        (IMAGE, *PER_CHANNEL, *STATISTICS),
        {"momentum": 0.8},
        5,
        versions=(1, 6, 7, 9),
        grad=ALL,
        expected=batch((0, 2, 3), 0.8),
        atol=1e-5,
    ),
    Sample(
        "BatchNormalization",
        (f32(3, 4, 2), *(f32(4, 2, low=0.5, seed=i) for i in range(4))),
        {"spatial": 0},
        5,
        versions=(1, 6, 7),
        grad=ALL,
        expected=batch((0,), 0.9),
        atol=1e-5,
    ),
    Sample(
        "BatchNormalization",
        (f32(3, 4, 2), *(f32(4, 2, low=0.5, seed=i) for i in range(4))),
        {"spatial": 0},
        versions=(1, 6, 7),
        grad=ALL,
        expected=lambda x, s, b, m, v: (x - m) / np.sqrt(v + 1e-5) * s + b,
        atol=1e-5,
    ),
    *(
        Sample(
            "BatchNormalization",
            (f32(3, 4), *PER_CHANNEL, *STATISTICS),
            kw,
            versions=(1, 6),
            grad=ALL,
            expected=lambda x, s, b, m, v: (x - m) / np.sqrt(v + 1e-5) * s + b,
            atol=1e-5,
        )
        for kw in ({}, {"is_test": 1})
    ),
    *(
        Sample(
            "InstanceNormalization", (x, *PER_CHANNEL), {"epsilon": 1e-3}, grad=(0, 1, 2), atol=1e-5
        )
        for x in (IMAGE, f32(2, 4, 6))
    ),
    *(
        Sample(
            "GroupNormalization",
            (IMAGE, *PER_CHANNEL),
            {"num_groups": n},
            versions=(21,),
            grad=(0, 1, 2),
        )
        for n in (1, 2, 4)
    ),
    Sample("GroupNormalization", HALF[:3], {"num_groups": 2}, versions=(21,), rtol=1e-2, atol=1e-2),
    Sample(
        "GroupNormalization",
        (IMAGE, f32(2, seed=1), f32(2, seed=2)),
        {"num_groups": 2, "epsilon": 1e-3},
        versions=(18,),
        grad=(0, 1, 2),
        atol=1e-5,
    ),
    *(
        Sample(
            "LayerNormalization",
            (IMAGE, f32(*IMAGE.shape[axis:], seed=1), f32(*IMAGE.shape[axis:], seed=2)),
            {"axis": axis, "epsilon": 1e-3},
            outputs,
            grad=(0, 1, 2) if outputs == 1 else (),
            atol=1e-5,
        )
        for axis, outputs in [(-1, 1), (-1, 3), (1, 3), (2, 1), (-2, 3)]
    ),
    Sample("LayerNormalization", (f32(2, 3), f32(3, seed=1)), grad=(0, 1), atol=1e-5),
    Sample("LayerNormalization", (HALF[0], HALF[0][0, 0, 0]), {}, 2, rtol=1e-2, atol=1e-2),
    *(
        Sample("RMSNormalization", (IMAGE, f32(*IMAGE.shape[axis:])), {"axis": axis}, grad=(0, 1))
        for axis in (-1, 1, 2)
    ),
    *(Sample("LRN", (f32(2, 6, 3, 2),), {"size": n, "alpha": 0.1}, grad=(0,)) for n in (1, 3)),
    # The reference takes the number of instances for that of channels.
    Sample("LRN", (f32(4, 4, 3, 2),), {"size": 4, "alpha": 0.1}, grad=(0,)),
    Sample("LRN", (f32(2, 6, 3, 2),), {"size": 3, "beta": 0.5, "bias": 2.0}, grad=(0,)),
    Sample("MeanVarianceNormalization", (IMAGE,), grad=(0,), atol=1e-5),
    Sample("MeanVarianceNormalization", (f32(3, 4),), {"axes": [1]}, grad=(0,), atol=1e-5),
    *(
        Sample("LpNormalization", (f32(3, 4, 2),), {"p": p, "axis": axis}, grad=(0,))
        for p in (1, 2)
        for axis in (-1, 0, 1)
    ),
    Sample("LpNormalization", (np.float32([[0, 0], [3, -4]]),), {"p": 2}),
    # The reciprocal of the greatest number is subnormal.
    Sample("LpNormalization", (np.float32([[np.finfo(np.float32).max, 3]]),), {"p": 1}),
]
