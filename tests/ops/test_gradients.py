"""Every floating operand has a gradient that is checked, or a reason for having none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import onnxla
from onnxla.ops import Operator
from support.sample_models import ROWS, build, in_double_precision
from support.samples import Sample, samples

pytestmark = pytest.mark.quickly

# Why an operand has no gradient sample. What each reason claims is tested below.
INTEGERS = "all outputs are integers, booleans or strings"
UNUSED = "only its dtype or its shape is used"
JUMPS = "the outputs are constant but for jumps, at which the samples are"
ROUNDED = "it is rounded, and its derivative follows the rounding; in training straight through"

WITHOUT: dict[tuple[str, str], dict[str, str]] = {
    **{
        ("", name): dict.fromkeys(operands, INTEGERS)
        for names, operands in (
            (("ArgMax", "ArgMin", "Shape", "Size"), ("data",)),
            (("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), ("A", "B")),
            (("IsInf", "IsNaN"), ("X",)),
            (("BitCast", "Multinomial"), ("input",)),
            (("QuantizeLinear",), ("x", "y_scale")),
            (("QLinearConv",), ("x_scale", "w_scale", "y_scale")),
            (("QLinearMatMul",), ("a_scale", "b_scale", "y_scale")),
        )
        for name in names
    },
    ("", "DynamicQuantizeLinear"): {"x": ROUNDED},
    ("", "CastLike"): {"target_type": UNUSED},
    **{("", f"Random{kind}Like"): {"input": UNUSED} for kind in ("Normal", "Uniform")},
    ("", "EyeLike"): {"input": UNUSED},
    ("", "Bernoulli"): {"input": JUMPS},
    ("", "MaxRoiPool"): {"rois": JUMPS},
    **{
        ("ai.onnx.ml", name): {"X": JUMPS}
        for name in (
            *("OneHotEncoder", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"),
        )
    },
    ("ai.onnx.ml", "LabelEncoder"): {"X": INTEGERS},
    ("com.microsoft", "QuantizeLinear"): {"x": INTEGERS, "y_scale": INTEGERS},
    ("com.microsoft", "QGemm"): {"y_scale": INTEGERS},
    **{
        ("com.microsoft", f"QLinear{name}"): dict.fromkeys(operands, INTEGERS)
        for names, operands in (
            (("Add", "Mul"), ("A_scale", "B_scale", "C_scale")),
            (("AveragePool", "GlobalAveragePool"), ("x_scale", "y_scale")),
            (("Conv",), ("x_scale", "w_scale", "y_scale")),
            (("Concat",), ("Y_scale", "inputs")),
            (("LeakyRelu", "Sigmoid"), ("X_scale", "Y_scale")),
            (("Softmax",), ("X_scale", "y_scale")),
            (("Where",), ("x_scale", "y_scale", "z_scale")),
        )
        for name in names
    },
    ("com.microsoft", "DynamicQuantizeMatMul"): {"A": ROUNDED},
    ("com.microsoft", "DynamicQuantizeLSTM"): dict.fromkeys(
        ("X", "B", "initial_h", "initial_c", "W_scale", "R_scale"), ROUNDED
    ),
    ("com.microsoft", "GroupQueryAttention"): dict.fromkeys(("k_scale", "v_scale"), ROUNDED),
}


def floating(sample: Sample) -> set[int]:
    """Positions of the sample's inputs of single or double precision."""
    real = (np.float32, np.float64)
    return {i for i, x in enumerate(sample.inputs) if x is not None and x.dtype in real}


def differentiable(operator: Operator, version: int) -> set[int]:
    """Positions of the inputs that the schema says one can differentiate by."""
    if not onnx.defs.has(operator.name, operator.domain):
        return set()
    schema = onnx.defs.get_schema(operator.name, version, operator.domain)
    tag = onnx.defs.OpSchema.DifferentiationCategory.Differentiable
    return {i for i, x in enumerate(schema.inputs) if x.differentiation_category == tag}


def functions() -> Iterator[tuple[Operator, int, list[Sample]]]:
    """Each function of the table, its latest version, and the samples that it is right for."""
    every = list(samples())
    for (domain, name), rows in ROWS.items():
        for function in dict.fromkeys(operator.function for _, operator in rows):
            own = [(v, operator) for v, operator in rows if operator.function is function]
            versions = {version for version, _ in own}
            fitting = [
                sample
                for sample in every
                if (sample.domain, sample.op_type) == (domain, name)
                and (sample.versions is None or versions.intersection(sample.versions))
            ]
            yield own[-1][1], max(versions), fitting


def test_every_floating_operand_has_a_gradient_or_a_reason_for_none() -> None:
    without: dict[tuple[str, str], set[str]] = {}
    for operator, version, fitting in functions():
        needed = differentiable(operator, version).union(*map(floating, fitting))
        checked = {position for sample in fitting for position in sample.grad}
        names = {operator.input_name(position) for position in needed - checked}
        if names.difference(operator.static):
            found = without.setdefault((operator.domain, operator.name), set())
            found |= names.difference(operator.static)
    assert without == {key: set(operands) for key, operands in WITHOUT.items()}


@pytest.mark.parametrize(
    ("key", "operand"), [(key, name) for key, operands in WITHOUT.items() for name in operands]
)
def test_what_has_no_gradient_has_none(key: tuple[str, str], operand: str) -> None:
    reason, shown = WITHOUT[key][operand], False
    for operator, version, fitting in functions():
        for sample in fitting if (operator.domain, operator.name) == key else ():
            for position in floating(sample):
                if operator.input_name(position) == operand and not shown:
                    shown = shows(reason, sample, version, position)
    assert shown or reason == INTEGERS


def shows(reason: str, sample: Sample, version: int, position: int) -> bool:
    """Whether a sample has floating outputs; and if so, that the reason is true of them."""
    version = version if sample.versions is None else max(sample.versions)
    module = onnxla.load(build(sample, version, list(sample.inputs)))
    if reason == INTEGERS and module.program.data_dependent:
        return False  # there are strings

    def function(x: jax.Array) -> Any:
        inputs = [x if i == position else value for i, value in enumerate(sample.inputs)]
        given = (value for value in inputs if value is not None)
        return module.apply(module.params, *given, key=jax.random.key(0))

    with jax.enable_x64(True):
        x = jnp.asarray(sample.inputs[position])
        outputs = jax.tree.leaves(jax.eval_shape(function, x))
        if not any(jnp.issubdtype(output.dtype, jnp.floating) for output in outputs):
            return False
        assert reason != INTEGERS
        if reason == ROUNDED:
            assert "round" in str(jax.make_jaxpr(function)(x))
        else:
            slopes = jax.jit(lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1])
            for tangent in jax.tree.leaves(slopes(x)):
                assert not np.asarray(tangent).astype(bool).any()
        return True


def cheapest() -> Iterator[Any]:
    """The smallest sample that is differentiated, of each function."""
    for operator, version, fitting in functions():
        graded = [sample for sample in fitting if sample.grad]
        if graded:
            sample = min(graded, key=lambda s: sum(np.size(x) for x in s.inputs))
            yield pytest.param(sample, version, id=f"{operator.name}-{version}")


@pytest.mark.one_in(8)
@pytest.mark.parametrize(("sample", "version"), list(cheapest()))
def test_second_derivatives(sample: Sample, version: int) -> None:
    """Forward over reverse and reverse over reverse, against differences of the gradient."""
    with jax.enable_x64(True):
        function, points = in_double_precision(sample, version)

        def total(*traced: jax.Array) -> jax.Array:
            outputs = function(*traced)
            # With random weights, since the sum of a softmax, say, is constant; and squares, so
            # that there is curvature everywhere.
            rng = np.random.default_rng(0)
            return sum(
                jnp.sum(rng.uniform(0.5, 1.5, y.shape).astype(y.dtype) * y + y * y)
                for y in jax.tree.leaves(outputs)
            )

        gradient = jax.grad(total, tuple(range(len(sample.grad))))

        @jax.jit
        def derivatives(points: Any, direction: Any) -> Any:
            def along(*points: jax.Array) -> jax.Array:
                terms = zip(gradient(*points), direction, strict=True)
                return sum(jnp.vdot(g, v) for g, v in terms)

            backward = jax.grad(along, tuple(range(len(points))))(*points)
            return *jax.jvp(gradient, points, direction), backward

        rng = np.random.default_rng(1)
        direction = tuple(rng.standard_normal(x.shape) for x in points)
        _, forward, backward = derivatives(points, direction)
        # Some operators compute in single precision, whatever they are given.
        single = jax.eval_shape(total, *points).dtype == np.float32
        step, tolerance = (1e-2, 1e-2) if single else (1e-5, 1e-5)
        ahead, behind = (
            derivatives(tuple(x + s * v for x, v in zip(points, direction, strict=True)), direction)
            for s in (step, -step)
        )
        for after, before, *results in zip(ahead[0], behind[0], forward, backward, strict=True):
            difference = (after - before) / (2 * step)
            for result in results:
                near = tolerance * max(1, np.max(abs(difference), initial=0))
                np.testing.assert_allclose(result, difference, 10 * tolerance, near)
