"""What the table says of an operator is true, and holds for users' operators too."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import onnxla
from onnxla.ops import Operator, Traits, lookup, rows
from support.samples import Sample, samples
from support.small_models import make

pytestmark = pytest.mark.quickly

DOMAIN = "tests.traits"
RNG = np.random.default_rng(0)
X, W, B = (RNG.standard_normal(s).astype(np.float32) for s in ((4, 3), (3, 2), (1, 2)))


# The whole table, by the table of samples.


SAMPLES: dict[tuple[str, str], list[Sample]] = {}
for each in samples():
    SAMPLES.setdefault((each.domain, each.op_type), []).append(each)


def with_trait(holds: Callable[[Operator], object]) -> list[Any]:
    """Each function that has a trait with each sample of it, at the latest version of both."""
    found: dict[tuple[Any, int], Any] = {}
    for version, operator in rows():
        for index, sample in enumerate(SAMPLES.get((operator.domain, operator.name), ())):
            if holds(operator) and (sample.versions is None or version in sample.versions):
                name = f"{operator.domain or 'ai.onnx'}.{operator.name}-{version}-{index}"
                found[operator.function, index] = pytest.param(operator, sample, id=name)
    return list(found.values())


def results(operator: Operator, sample: Sample, *first: Any) -> list[np.ndarray]:
    """Outputs for the sample's inputs, the first of them replaced."""
    attributes = {k: tuple(v) if isinstance(v, list) else v for k, v in sample.attributes.items()}
    if "n_outputs" in operator.reserved:
        attributes["n_outputs"] = sample.outputs
    with jax.enable_x64(True):
        found = operator.function(*first, *sample.inputs[len(first) :], **attributes)
    return [np.asarray(y) for y in (found if isinstance(found, tuple) else (found,))]


def elements(*arrays: Any) -> Counter[str]:
    """The elements of arrays, each as often as it occurs, NaN and texts among them."""
    return Counter(repr(x) for array in arrays for x in np.asarray(array).ravel().tolist())


@pytest.mark.parametrize(("operator", "sample"), with_trait(lambda o: o.moves))
def test_moves(operator: Operator, sample: Sample) -> None:
    given = elements(*sample.inputs) if operator.moves == "joined" else elements(sample.inputs[0])
    outputs = results(operator, sample)
    match operator.moves:
        case "reshaped" | "dropped":  # outside of training nothing is dropped
            np.testing.assert_array_equal(outputs[0].ravel(), np.ravel(sample.inputs[0]))
        case "permuted" | "joined":
            assert elements(*outputs) == given
        case "sliced":
            assert elements(*outputs) <= given
        case "repeated" | "gathered":
            assert elements(*outputs).keys() <= given.keys()
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize(("operator", "sample"), with_trait(lambda o: o.converts))
def test_what_converts_has_an_element_for_each(operator: Operator, sample: Sample) -> None:
    x = np.array(sample.inputs[0])
    (y,) = results(operator, sample)
    assert y.shape == x.shape
    x.flat[0] = x.flat[-1]
    (other,) = results(operator, sample, x)
    assert y.ravel()[1:].tolist() == other.ravel()[1:].tolist()


@pytest.mark.parametrize(("operator", "sample"), with_trait(lambda o: o.reads_shape))
def test_what_reads_a_shape_reads_no_element(operator: Operator, sample: Sample) -> None:
    other = np.zeros(np.shape(sample.inputs[0]), np.asarray(sample.inputs[0]).dtype)
    assert not np.array_equal(other, sample.inputs[0])
    np.testing.assert_array_equal(results(operator, sample), results(operator, sample, other))


@pytest.mark.parametrize(("operator", "sample"), with_trait(lambda o: o.steps))
def test_steps_have_no_slope(operator: Operator, sample: Sample) -> None:
    x = np.asarray(sample.inputs[0], np.float32)
    _, tangent = jax.jvp(operator.function, (x,), (np.ones_like(x),))
    assert not np.any(tangent)
    assert len(np.unique(results(operator, sample)[0])) > 1


@pytest.mark.parametrize(("operator", "sample"), with_trait(lambda o: o.probabilities))
def test_probabilities(operator: Operator, sample: Sample) -> None:
    x = np.asarray(sample.inputs[0])
    (y,) = results(operator, sample)
    assert not np.any(y < 0)
    match operator.probabilities:
        case "categorical":
            np.testing.assert_allclose(y.sum(), np.prod(x.shape) / widths(x, y), rtol=1e-5)
        case "binary":
            (opposite,) = results(operator, sample, -x)
            np.testing.assert_allclose(y + opposite, 1, rtol=1e-5)


def widths(x: np.ndarray, y: np.ndarray) -> int:
    """How many elements sum to 1: those of some of the axes in a row."""
    for first in range(x.ndim):
        for last in range(first + 1, x.ndim + 1):
            axes = tuple(range(first, last))
            if np.allclose(y.sum(axes), 1, rtol=1e-5):
                return int(np.prod(x.shape[first:last]))
    raise AssertionError("no axes sum to 1")


@pytest.mark.parametrize(("operator", "sample"), with_trait(lambda o: o.transform))
def test_transforms_are_linear(operator: Operator, sample: Sample) -> None:
    x = np.asarray(sample.inputs[0])
    (whole,) = results(operator, sample)
    part = np.where(np.arange(x.size).reshape(x.shape) % 3, x, 0)
    (a,), (b,) = results(operator, sample, part), results(operator, sample, x - part)
    np.testing.assert_allclose(whole, a + b, rtol=1e-3, atol=1e-4)
    assert np.any(a)


def first_of_float32(parameters: list[Any]) -> list[Any]:
    """Of each function the first sample that has float32 operands: each is a program to compile."""
    found: dict[Any, Any] = {}
    for parameter in parameters:
        operator, sample = parameter.values
        if any(getattr(x, "dtype", None) == np.float32 for x in sample.inputs):
            found.setdefault(operator.function, parameter)
    return list(found.values())


@pytest.mark.parametrize(("operator", "sample"), first_of_float32(with_trait(lambda o: o.product)))
def test_products_take_narrow_operands(operator: Operator, sample: Sample) -> None:
    def narrow(x: Any) -> Any:
        return x.astype(jnp.bfloat16) if getattr(x, "dtype", None) == np.float32 else x

    (wide, *_), (found, *_) = (
        results(operator, sample),
        results(operator, sample, *map(narrow, sample.inputs)),
    )
    assert found.dtype == (jnp.bfloat16 if wide.dtype == np.float32 else wide.dtype)
    largest = np.abs(wide).max()
    np.testing.assert_allclose(found.astype(wide.dtype), wide, atol=0.05 * largest)


def weighted() -> Iterator[Any]:
    """Uses of operators with a declared weight, by operand, of one group."""
    for parameter in first_of_float32(with_trait(lambda o: o.output_channels)):
        operator, sample = parameter.values
        for name, axis in operator.output_channels.items():
            index = operator.inputs.index(name)
            matrix = np.ndim(sample.inputs[index]) > 1 and np.ndim(sample.inputs[0]) > 1
            if sample.attributes.get("group", 1) == 1 and matrix:
                yield pytest.param(operator, sample, index, axis, id=f"{parameter.id}-{name}")


@pytest.mark.parametrize(("operator", "sample", "index", "axis"), list(weighted()))
def test_output_channels(operator: Operator, sample: Sample, index: int, axis: int) -> None:
    weight = np.moveaxis(np.array(sample.inputs[index]), axis, 0)
    channel = len(weight) - 1
    weight[channel] = -weight[channel] - 1
    inputs = [*sample.inputs[:index], np.moveaxis(weight, 0, axis)]
    (y, *_), (other, *_) = results(operator, sample), results(operator, sample, *inputs)
    changed = np.argwhere(y != other)
    assert len(changed)
    assert any(
        y.shape[a] == len(weight) and set(changed[:, a].tolist()) == {channel}
        for a in range(y.ndim)
    )


def test_control_flow_is_decided_by_numbers_and_conditions() -> None:
    for version, operator in rows():
        schema_of = {"If": ("cond",), "Loop": ("M", "cond")}
        if operator.controls:
            assert operator.inputs[: operator.controls] == schema_of[operator.name]
            schema = onnx.defs.get_schema(operator.name, version, operator.domain)
            for formal in schema.inputs[: operator.controls]:
                assert formal.types <= {"tensor(bool)", "tensor(int64)"}


EXACT = {(operator.domain, operator.name): operator for _, operator in rows() if operator.exact}


@pytest.mark.parametrize("operator", EXACT.values(), ids=lambda operator: operator.name)
def test_all_bits_of_an_integer_count(operator: Operator) -> None:
    whole = np.asarray([2**40 + 5, 3], np.uint64 if operator.name == "BitShift" else np.int64)
    lower = whole.astype(np.int32).astype(whole.dtype)
    given = {"to": 13, "direction": "RIGHT"}
    attributes = {k: v for k, v in given.items() if k in operator.attributes}
    other = {"BitShift": 1, "BitwiseAnd": 2**41 - 1}.get(operator.name, 1000)
    others = [np.asarray([other, 1], whole.dtype)] * (len(operator.inputs) - 1)
    for known in (np.asarray, jnp.asarray):
        with jax.enable_x64(True):
            results = [operator.function(known(x), *others, **attributes) for x in (whole, lower)]
            assert results[0][0] != results[1][0]
            assert results[0][1] == results[1][1]


def test_every_trait_has_an_operator() -> None:
    for name in Traits.__dataclass_fields__:
        assert any(getattr(operator, name) for _, operator in rows()), name


# Users' operators.

# The dtypes in which their products are computed.
SEEN: list[Any] = []


@onnxla.op("Product", since=(1,), domain=DOMAIN, roles={"w": "weight"}, product=True)
def product(x: Any, w: Any) -> Any:
    """x @ w, in the operands' dtype."""
    SEEN.append(x.dtype)
    return jnp.asarray(x) @ w


@onnxla.op("Wide", since=(1,), domain=DOMAIN)
def wide_product(x: Any, w: Any) -> Any:
    """x @ w, which says nothing of itself."""
    SEEN.append(x.dtype)
    return jnp.asarray(x) @ w


@onnxla.op("Turned", since=(1,), domain=DOMAIN, moves="permuted")
def turned(x: Any) -> Any:
    """A transpose."""
    return jnp.asarray(x).T


@onnxla.op("Identity", since=(1,), domain=DOMAIN)
def not_identity(x: Any) -> Any:
    """Twice x: a name of ONNX's, and another meaning."""
    return 2 * jnp.asarray(x)


def module(body: str, **tensors: np.ndarray) -> onnxla.Module:
    """A model of x [N, 3] with users' operators."""
    head = f'<ir_version: 9, opset_import: ["" : 20, "{DOMAIN}" : 1]> users'
    return onnxla.load(make(f"{head} (float[N, 3] x) => (float[N, M] y) {{ {body} }}", **tensors))


@pytest.mark.parametrize(("op_type", "dtype"), [("Product", "bfloat16"), ("Wide", "float32")])
def test_a_users_product_is_narrow_in_mixed_precision(op_type: str, dtype: str) -> None:
    plain = module(f"y = {DOMAIN}.{op_type} (x, w)", w=W)
    SEEN.clear()
    y = plain.autocast("bfloat16")(X)
    assert {str(found) for found in SEEN} == {dtype}
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, X @ W, atol=0.05)


@pytest.mark.parametrize(
    ("body", "role"),
    [
        (f"y = {DOMAIN}.Product (x, w)", "weight"),
        (f"y = {DOMAIN}.Wide (x, w)", "constant"),
        # Through what moves elements.
        (f"h = {DOMAIN}.Turned (w)  y = Gemm (x, v, h)", "bias"),
        ("h = Identity (w)  y = Gemm (x, v, h)", "bias"),
        # What a bias is computed from was learned, as what.
        (f"h = {DOMAIN}.Identity (w)  y = Gemm (x, v, h)", "scale"),
    ],
)
def test_a_users_operator_gives_roles(body: str, role: str) -> None:
    w = B.reshape(2, 1) if "Turned" in body else B if "Gemm" in body else W
    assert module(body, w=w, v=W).roles["w"] == role


def test_an_operator_named_like_onnxs_is_computed_as_its_own() -> None:
    found = module(f"h = {DOMAIN}.Identity (w)  y = Gemm (x, v, h)", w=B, v=W)
    np.testing.assert_allclose(found(X), X @ W + 2 * B, rtol=1e-5)
    assert found.roles["w"] == "scale"  # of which a bias is made, and not a bias itself


@pytest.mark.parametrize("trait", [{"narrow": True}, {"roles": {"z": "weight"}}])
def test_a_mistaken_trait_is_refused(trait: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"narrow|no inputs"):

        @onnxla.op("Mistaken", since=(1,), domain=DOMAIN, **trait)
        def mistaken(x: Any) -> Any:
            return x


def test_a_group_of_attributes_is_flat_in_the_table() -> None:
    names: Sequence[str] = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
    conv = lookup("", "Conv", 22)
    assert conv is not None
    assert {*names, "group"} == {*conv.attributes}
    assert conv.attributes["auto_pad"] == "NOTSET"
    x, w = np.ones((1, 1, 4), np.float32), np.ones((1, 1, 2), np.float32)
    assert conv.function(x, w, strides=(2,)).shape == (1, 1, 2)
    max_pool = lookup("", "MaxPool", 22)
    assert max_pool is not None
    assert max_pool.attributes["kernel_shape"] is inspect.Parameter.empty
