"""Faults in recurrent layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.nonfinite import floats_in, special
from onnxla.testing.predicates import When, attribute, dtype, has, operand
from onnxla.testing.use import example

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def layer(
    op: str,
    dtype: Any = np.float32,
    lengths: bool = False,
    version: int = 22,
    **attributes: Any,
) -> Case:
    """A layer with one unit, two steps and one sequence."""
    gates = GATES[op]
    x = np.array([[[0.25]], [[2.0]]], dtype)
    w, r = np.ones((1, gates, 1), dtype), np.ones((1, gates, 1), dtype)
    rest = (None, np.array([1], np.int32)) if lengths else ()
    ranks = {"y0": 4, "y1": 3}
    return example(op, version, x, w, r, *rest, outputs=2, ranks=ranks, hidden_size=1, **attributes)


@When
def shorter(case: Case) -> bool:
    """Whether a sequence is shorter than there are steps."""
    lengths = (*case.operands, None, None)[4]
    steps = case.operands[0].shape[1 if case.attributes.get("layout") else 0]
    return lengths is not None and bool((lengths < steps).any())


@When
def thresholded_by_default(case: Case) -> bool:
    """Whether ThresholdedRelu has no alpha."""
    names = case.attributes.get("activations", [])
    return "ThresholdedRelu" in names and "activation_alpha" not in case.attributes


@When
def other_activations(case: Case) -> bool:
    """Whether the activations are not those by default."""
    names, defaults = case.attributes.get("activations"), DEFAULTS[case.op_type]
    return names is not None and any(n != defaults[i % len(defaults)] for i, n in enumerate(names))


@When
def only_weight_is_zero(case: Case) -> bool:
    """Whether a matrix of weights is a single 0, and what is multiplied is not finite."""
    single = [w for w in case.operands[1:3] if w.shape[1:] == (1, 1) and (w == 0).any()]
    return bool(single) and any(not np.isfinite(x).all() for x in floats_in(case))


def fault(
    runtime: str,
    op: str,
    what: str,
    text: str,
    when: Callable[[Case], bool],
    make: Callable[[], Case],
) -> Fault:
    """A fault of a recurrent layer."""
    return Fault(runtime, op, what, text, when, make)


def with_nan(op: str) -> Case:
    """A layer with one unit and one step, which is NaN."""
    gates = GATES[op]
    x, w, bias = np.full((1, 1, 1), np.nan), np.ones((1, gates, 1)), np.zeros((1, 2 * gates))
    operands = (a.astype(np.float32) for a in (x, w, w, bias))
    return example(op, 22, *operands, ranks={"y0": 4}, hidden_size=1)


def infinite_state() -> Case:
    """An RNN with one unit, one step and two sequences that begin in an infinite state."""
    arrays = np.ones((1, 2, 1)), np.ones((1, 1, 1)), np.zeros((1, 1, 1)), np.full((1, 2, 1), np.inf)
    x, w, r, state = (array.astype(np.float32) for array in arrays)
    return example("RNN", 22, x, w, r, None, None, state, ranks={"y0": 4}, hidden_size=1)


def with_cell(cell: float) -> Case:
    """An LSTM with one unit and one step, and a state of the cell."""
    shapes = ((1, 1, 1), (1, 4, 1), (1, 4, 1))
    operands = (*(np.ones(shape, np.float32) for shape in shapes), None, None)
    states = (np.full((1, 1, 1), value, np.float32) for value in (0, cell))
    return example("LSTM", 22, *operands, *states, ranks={"y0": 4}, hidden_size=1)


FAULTS = [
    *(
        fault(
            "onnxruntime",
            op,
            "accepts a model of float64 and then fails: it has no such implementation",
            "T is one of tensor(float16), tensor(float), tensor(double).",
            dtype(np.float64),
            functools.partial(layer, op, np.float64),
        )
        for op in ("GRU", "LSTM")
    ),
    *(
        fault(
            "reference",
            op,
            "ignores `clip`",
            "'Clipping bounds the elements of a tensor in the range of [-threshold, +threshold] "
            "and is applied to the input of activations.'",
            has("clip"),
            functools.partial(layer, op, clip=0.5),
        )
        for op in GATES
    ),
    *(
        fault(
            "reference",
            op,
            "ignores `sequence_lens`",
            "'Optional tensor specifying lengths of the sequences in a batch.'",
            shorter,
            functools.partial(layer, op, lengths=True),
        )
        for op in GATES
    ),
    *(
        fault(
            "reference",
            op,
            "ignores `activations`",
            "'A list of ... activation functions', each 'one of the activation functions specified "
            "above'.",
            other_activations,
            functools.partial(layer, op, activations=["Relu"] * len(DEFAULTS[op])),
        )
        for op in ("GRU", "LSTM")
    ),
    fault(
        "reference",
        "RNN",
        "fails for all activations but Tanh and Affine, and has one for both directions",
        "'One (or two if bidirectional) activation function for input gate. The activation "
        "function must be one of the activation functions specified above.'",
        other_activations,
        lambda: layer("RNN", activations=["Relu"]),
    ),
    replace(
        fault(
            "reference",
            "RNN",
            "multiplies infinities and NaN by a weight of 0 to 0, if it is the only one",
            "'Ht = f(Xt*(Wi^T) + Ht-1*(Ri^T) + Wbi + Rbi)': such a product is NaN, as in matrices "
            "of other sizes. numpy's `dot` leaves it out where there is one row and one column.",
            only_weight_is_zero,
            infinite_state,
        ),
        nonfinite=True,
    ),
    fault(
        "reference",
        "LSTM",
        "ignores `input_forget`",
        "'Couple the input and forget gates if 1.'",
        attribute("input_forget", 1),
        lambda: layer("LSTM", input_forget=1),
    ),
    *(
        fault(
            "reference",
            op,
            "fails for the attribute `output_sequence`",
            "Version 1 has it: 'The sequence output for the hidden is optional if 0.'",
            has("output_sequence"),
            functools.partial(layer, op, version=1, output_sequence=1),
        )
        for op in ("GRU", "LSTM")
    ),
    *(
        fault(
            "onnxruntime",
            op,
            "has 0, not 1, as the alpha of ThresholdedRelu by default",
            "'Default values are the same as of corresponding ONNX operators', and that of "
            "ThresholdedRelu is 1.",
            thresholded_by_default,
            functools.partial(layer, op, activations=[*DEFAULTS[op][:-1], "ThresholdedRelu"]),
        )
        for op in GATES
    ),
    *(
        Fault(
            "onnxruntime",
            op,
            "takes NaN in the input of a gate for a large number, where there is a bias",
            "Of NaN the text says nothing; it is in all that is computed from it, as it is without "
            "a bias.",
            operand(3) & special,
            functools.partial(with_nan, op),
            nonfinite=True,
        )
        for op in ("GRU", "LSTM")
    ),
    Fault(
        "reference",
        "LSTM",
        "multiplies an infinite cell by peepholes that are absent",
        "'P: The weight tensor for peepholes. Optional', of which it says that it is 'Assumed to "
        "be 0 if not specified', but not that there is a product.",
        ~operand(7) & special,
        lambda: with_cell(np.inf),
        nonfinite=True,
    ),
]
