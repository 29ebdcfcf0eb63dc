"""Recurrent layers. ONNX Runtime has no float16 and no `layout` for them."""

import dataclasses
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper

from support.samples import Sample, f32

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
T, N, H = 5, 3, 4
EVERY = ("Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh")
EVERY += ("HardSigmoid", "Elu", "Softsign", "Softplus")
WITH_ALPHA = EVERY[3:9]
WITH_BETA = ("Affine", "ScaledTanh", "HardSigmoid")


def operands(op: str, directions: int = 1, size: float = 1.0) -> list[Any]:
    """X, W, R, B, sequence_lens, initial_h and, of an LSTM, initial_c and P, all in [-size, size].

    Sequences are of different lengths.
    """
    g, d = GATES[op], directions
    shapes = [(T, N, 2), (d, g * H, 2), (d, g * H, H), (d, 2 * g * H), (d, N, H)]
    if op == "LSTM":
        shapes += [(d, N, H), (d, 3 * H)]
    arrays = [f32(*s, low=-size, high=size, seed=i) for i, s in enumerate(shapes)]
    return [*arrays[:4], np.asarray([T, 2, 1], np.int32), *arrays[4:]]


def absent(op: str, *kept: int, directions: int = 1) -> list[Any]:
    """The required operands, and those of the others that are `kept`."""
    arrays = operands(op, directions)[: max((*kept, 2)) + 1]
    return [a if i < 3 or i in kept else None for i, a in enumerate(arrays)]


def use(op: str, inputs: list[Any], attributes: Any = None, **more: Any) -> Sample:
    grad = [i for i, a in enumerate(inputs) if a is not None and a.dtype == np.float32]
    outputs = 3 if op == "LSTM" else 2
    given = {"versions": (22,), "outputs": outputs, "grad": grad, **more}
    return Sample(op, inputs, {"hidden_size": H, **(attributes or {})}, **given)


def by_version_7(sample: Sample) -> Any:
    """The outputs of the same node in opset 7: no runtime has earlier versions; the equations of
    versions 1 and 3 are those of 7."""

    def expected(*arrays: Any) -> Any:
        given = {f"x{i}": a for i, a in enumerate(arrays) if a is not None}
        inputs = [f"x{i}" if a is not None else "" for i, a in enumerate(arrays)]
        outputs = [f"y{i}" for i in range(int(sample.outputs))]
        node = helper.make_node(sample.op_type, inputs, outputs, **sample.attributes)
        types = [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for k, a in given.items()
        ]
        out = [helper.make_tensor_value_info(k, 1, None) for k in outputs]
        graph = helper.make_graph([node], "opset7", types, out)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=7)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return tuple(session.run(None, given))

    return expected


def names(op: str, first: int, directions: int = 1) -> list[str]:
    n = {"RNN": 1, "GRU": 2, "LSTM": 3}[op] * directions
    return [EVERY[(first + i) % len(EVERY)] for i in range(n)]


def arguments(chosen: list[str]) -> dict[str, Any]:
    alphas = [0.3 + 0.1 * i for i, name in enumerate(n for n in chosen if n in WITH_ALPHA)]
    betas = [0.6 + 0.1 * i for i, name in enumerate(n for n in chosen if n in WITH_BETA)]
    given = {"activation_alpha": alphas, "activation_beta": betas}
    return {"activations": chosen, **{k: v for k, v in given.items() if v}}


SAMPLES = [
    *(
        sample
        for op in GATES
        for sample in (
            use(op, absent(op), versions=(7, 14, 22), grad=()),
            use(op, absent(op, 3)),
            use(op, absent(op, 4), grad=()),
            use(op, absent(op, 5, directions=2), {"direction": "bidirectional"}, grad=()),
            use(op, operands(op), grad=()),
            use(op, operands(op), {"direction": "reverse"}),
            use(op, operands(op, 2), {"direction": "bidirectional", "clip": 0.7}, grad=()),
            use(op, absent(op, 3), {"clip": 0.3}, outputs=(False, True), grad=()),
            *(
                use(op, operands(op, size=0.5), arguments(names(op, first)), grad=())
                for first in range(len(EVERY))
            ),
            use(
                op,
                operands(op, 2, size=0.5),
                {"direction": "bidirectional", **arguments(names(op, 3, 2))},
                grad=(),
            ),
        )
    ),
    *(
        use(op, operands(op, size=0.5), {"activations": activations}, grad=())
        for op, activations in [
            ("GRU", ["hardsigmoid", "LEAKYRELU"]),
            ("LSTM", ["HardSigmoid", "Elu", "Softsign"]),
        ]
    ),
    use("GRU", operands("GRU", 2), {"direction": "bidirectional", "linear_before_reset": 1}),
    use("GRU", absent("GRU", 3), {"clip": 0.4, "linear_before_reset": 1}, grad=()),
    use("LSTM", operands("LSTM", 2), {"direction": "bidirectional", "input_forget": 1}),
    use("LSTM", absent("LSTM", 3, 7), {"clip": 0.4}, grad=()),
    # Without peepholes the gates do not see the cell.
    use("LSTM", [*absent("LSTM", 3, 7)[:6], np.full((1, N, H), np.inf, np.float32)], {}, grad=()),
    *(
        use(op, [x.swapaxes(0, 1), *rest], {"layout": 1}, versions=(14, 22), grad=())
        for op in GATES
        for x, *rest in [absent(op, 3)]
    ),
]

SAMPLES += [
    dataclasses.replace(sample, versions=versions, expected=by_version_7(sample))
    for op, versions in {"RNN": (1,), "GRU": (1, 3), "LSTM": (1,)}.items()
    for sample in (use(op, absent(op)), use(op, operands(op), {"direction": "reverse"}))
]
