import numpy as np

from support.samples import Sample, f32

X = f32(2, 3, 4, low=-4.0, high=4.0)
PLAIN = ("Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Celu", "Gelu", "Sigmoid")
PLAIN += ("HardSigmoid", "HardSwish", "Swish", "Mish", "Softplus", "Softsign")
SPECIAL = np.asarray([-np.inf, -100, 0, 100, np.inf], np.float32)


def flattened(function):
    """A softmax over the last two axes at once."""
    return lambda x: function(x.reshape(len(x), -1)).reshape(x.shape)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def selu(x):
    return 1.0507 * np.where(x > 0, x, 1.6732 * np.expm1(x)).astype(np.float32)


SAMPLES = [
    *(Sample(name, (X,), grad=(0,)) for name in PLAIN),
    Sample("Selu", (X,), versions=(6, 22), grad=(0,)),
    # No other runtime has version 1, with coefficients of fewer digits.
    Sample("Selu", (X,), versions=(1,), expected=selu),
    *(
        Sample(name, (SPECIAL,))
        for name in ("Relu", "LeakyRelu", "Celu", "HardSigmoid", "Softplus")
    ),
    *(Sample(name, (SPECIAL,), versions=(6,)) for name in ("Elu", "Sigmoid")),
    Sample("Relu", (np.int32([-1, 0, 3]),), versions=(14,)),
    *(
        Sample(name, (X,), {"alpha": 0.7}, grad=(0,))
        for name in ("LeakyRelu", "ThresholdedRelu", "Elu", "Celu", "Swish")
    ),
    Sample("Selu", (X,), {"alpha": 0.7, "gamma": 1.3}, grad=(0,)),
    Sample("HardSigmoid", (X,), {"alpha": 0.4, "beta": 0.3}, grad=(0,)),
    Sample("Gelu", (X,), {"approximate": "tanh"}, grad=(0,)),
    Sample("SwiGLU", (X, f32(2, 3, 4, seed=1)), {"alpha": 1.5}, grad=(0, 1)),
    Sample("Shrink", (X,), grad=(0,)),
    Sample("Shrink", (X,), {"lambd": 1.5, "bias": 0.5}, grad=(0,)),
    Sample("Shrink", (np.int32([-3, -1, 0, 1, 3]),), {"lambd": 1.5, "bias": 1.0}),
    Sample("PRelu", (X, f32(3, 1, seed=1)), versions=(7, 9, 16), grad=(0, 1)),
    Sample("PRelu", (np.int32([-3, 0, 3]), np.int32([2])), versions=(9, 16)),
    Sample(
        "PRelu",
        (X, f32(3, seed=1)),
        versions=(1, 6),
        grad=(0, 1),
        # No other runtime has the slopes by channel of opsets 1 to 6.
        expected=lambda x, slope: np.where(x < 0, slope[:, None] * x, x),
    ),
    *(
        Sample(name, (X,), {"axis": axis}, grad=(0,), versions=versions)
        for name in ("Softmax", "LogSoftmax", "Hardmax")
        for axis, versions in ((0, None), (2, None), (-1, (11, 13)))
    ),
    *(Sample(name, (X,), versions=(13,)) for name in ("Softmax", "LogSoftmax", "Hardmax")),
    # The reference evaluator, which stands in where ONNX Runtime has no kernel, is not flattening.
    Sample("Softmax", (X,), versions=(1, 11), expected=flattened(softmax), grad=(0,)),
    Sample("LogSoftmax", (X,), versions=(1, 11), expected=flattened(lambda x: np.log(softmax(x)))),
    Sample(
        "Hardmax",
        (X,),
        versions=(1, 11),
        expected=flattened(lambda x: np.eye(x.shape[1], dtype="f4")[x.argmax(1)]),
    ),
    # No other runtime has versions 1 and 6.
    Sample("Dropout", (X,), {"is_test": 1}, versions=(1, 6), grad=(0,), expected=lambda x: x),
    Sample("Dropout", (X,), versions=(7, 10, 12, 13, 22), grad=(0,)),
    # ONNX Runtime's mask is false in these versions, and true in the later ones.
    Sample("Dropout", (X,), versions=(7,), outputs=2, expected=lambda x: (x, np.ones_like(x))),
    Sample("Dropout", (X,), versions=(10,), outputs=2, expected=lambda x: (x, x == x)),
    Sample("Dropout", (X,), versions=(12, 13, 22), outputs=2),
    Sample(
        "Dropout",
        (X, np.asarray(0, np.float32), np.asarray(True)),
        versions=(12, 13, 22),
        outputs=2,
    ),
]
