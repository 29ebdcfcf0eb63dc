"""Broken files: onnxla reads them or says what is wrong, and nothing else happens."""

import math
import time

import onnx
import pytest
from hypothesis import HealthCheck, given, settings

import onnxla
from onnxla.inputs import random_inputs
from onnxla.testing.malformed import EDITS, malformed_models, ways

SETTINGS = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# What onnx's checker does not look at, or not always.
ACCEPTED = {
    "a function is called with an attribute that it does not have",
    "a function is called with too many inputs",
    "a function whose output nothing makes",
    "a function's node refers to an attribute that the function does not have",
    "a loop whose body has the wrong inputs or outputs",
    "a loop whose condition is no boolean",
    "a reference to an attribute outside a function",
    # Nor at how much data a tensor has, and of which type.
    "a tensor of an unknown element type",
    "a tensor of another element type than its data",
    "a tensor of far too many dimensions",
    "a tensor with too little or too much data",
    "a tensor with too little or too much typed data",
    "a text that is none of those that an attribute may have",
    "a value of another type or shape than value_info says",
    "an attribute out of range",
    "an input of a size that cannot be",
    "an input of an unknown element type",
    "an input whose sequence, optional or map has no or a wrong element",
    "an opset version that does not exist",
    "an output twice",
    "an unknown operator of an imported domain",  # it knows the operators of its own alone
    "two opset versions of one domain",
}


def run(module: onnxla.Module) -> None:
    """Runs a module on random inputs, if they are small tensors: it works, or an error says why."""
    shapes = [getattr(value.type, "shape", None) or () for value in module.program.inputs]
    if any(math.prod(n for n in shape if isinstance(n, int)) > 10**4 for shape in shapes):
        return
    try:
        inputs = random_inputs(module.program.inputs)
    except onnxla.UnsupportedError:
        return
    failed: Exception | None = None
    try:
        module.run(inputs)
    except (onnxla.OnnxlaError, ValueError, TypeError) as error:
        failed = error
    if failed is not None:
        text = "\n".join([str(failed), *getattr(failed, "__notes__", [])])
        named = [node.op_type for node in module.program.model.graph.nodes]
        assert any(name in text for name in (*named, *inputs)), text


def use(data: bytes) -> None:
    """Loads a file and runs it."""
    start = time.process_time()
    module, message = load(data)
    assert time.process_time() - start < 1
    assert message.strip()
    if module is not None:
        run(module)


def load(data: bytes) -> tuple[onnxla.Module | None, str]:
    """A module, or what is wrong with the file."""
    try:
        return onnxla.load(data), "nothing"
    except (onnxla.ModelError, onnxla.UnsupportedError) as error:
        return None, str(error)


@pytest.mark.parametrize("how", ways())
def test_a_broken_file_is_read_or_is_an_error(how):
    @settings(SETTINGS, max_examples=3)
    @given(malformed_models(how))
    def test(broken):
        use(broken.data)
        if broken.how in EDITS and broken.how not in ACCEPTED:
            assert not is_valid(broken.data)

    test()


@settings(SETTINGS, max_examples=50)
@given(malformed_models())
def test_a_file_that_is_broken_in_several_ways(broken):
    use(broken.data)


def is_valid(data: bytes) -> bool:
    try:
        onnx.checker.check_model(data, full_check=True)
        onnx.shape_inference.infer_shapes(data, check_type=True, strict_mode=True)
    except Exception:  # of whatever kind: protobuf has its own
        return False
    return True


def test_there_is_no_such_way():
    with pytest.raises(ValueError, match="no way to break a file is called 'nothing'"):
        malformed_models("nothing")
