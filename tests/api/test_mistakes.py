"""Mistakes that people make: each is told in a sentence that helps, whatever the model's size."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxla
from onnxla.ir.names import listed, nearest

LONGEST = 600  # characters of a message
RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 4)).astype(np.float32)
Y = np.arange(8) % 3
PLACE = "model.encoder.transformer_layers.{}.self_attention.output_projection"
NAMES = [f"{PLACE.format(i)}.dense_with_a_long_name.weight" for i in range(500)]


def tensor(name: str, *shape: int) -> Any:
    values = RNG.uniform(0.2, 0.3, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model(nodes: list[Any], *tensors: Any, output: str = "logits") -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [*tensors, *(tensor(name, 4, 4) for name in NAMES)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def products(x: str = "x") -> list[Any]:
    """A node for each parameter, with names as exporters write them."""
    nodes = []
    for i, name in enumerate(NAMES):
        place = f"/encoder/transformer_layers.{i}/self_attention/output_projection/MatMul"
        nodes.append(helper.make_node("MatMul", [x, name], [f"{place}_output_0"], name=place))
        (x,) = nodes[-1].output
    return nodes


LAST = products()[-1].output[0]
MODULE = onnxla.load(
    model(
        [*products(), helper.make_node("MatMul", [LAST, "head"], ["logits"])], tensor("head", 4, 3)
    )
)
# Boxes that all parameters make, of which some are chosen, again and again.
CHOSEN = [f"/detector/box_heads.{i}/NonMaxSuppression_with_a_long_name" for i in range(30)]
DETECTOR = model(
    [
        *products(),
        helper.make_node("Unsqueeze", [LAST, "zero"], ["/detector/boxes/Unsqueeze_output_0"]),
        helper.make_node("ReduceSum", [LAST, "one"], ["s"], keepdims=0),
        helper.make_node("Unsqueeze", ["s", "both"], ["/detector/scores/Unsqueeze_output_0"]),
        *(
            helper.make_node(
                "NonMaxSuppression",
                [
                    "/detector/boxes/Unsqueeze_output_0",
                    "/detector/scores/Unsqueeze_output_0",
                    "most",
                ],
                [f"{name}_output_0"],
                name=name,
            )
            for name in CHOSEN
        ),
        helper.make_node("Concat", [f"{name}_output_0" for name in CHOSEN], ["all"], axis=0),
        helper.make_node("Cast", ["all"], ["logits"], to=TensorProto.FLOAT),
    ],
    numpy_helper.from_array(np.array([0]), "zero"),
    numpy_helper.from_array(np.array([1]), "one"),
    numpy_helper.from_array(np.array([0, 1]), "both"),
    numpy_helper.from_array(np.array([3]), "most"),
)
fit = partial(onnxla.fit, MODULE, progress=False)
trained = partial(fit, (X, Y), "cross_entropy")
evaluate = partial(onnxla.evaluate, MODULE)

MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # What is trained
    "train, misspelt": (
        lambda: trained(train="haed"),
        ValueError,
        "no parameter matches 'haed'; did you mean 'head'?",
    ),
    "train, a part of a name": (
        lambda: trained(train="self_attention"),
        ValueError,
        f"no parameter matches 'self_attention'; did you mean '{NAMES[0]}'?",
    ),
    "train, nothing like it": (
        lambda: trained(train="classifier.*"),
        ValueError,
        r"no parameter matches 'classifier\.\*'; there are head, model\.encoder.*, \.\.\.",
    ),
    "train, empty": (
        lambda: trained(train=[name for name in NAMES if "decoder" in name]),
        ValueError,
        "train= is empty, so no parameter trains: name some, or leave it out to train all",
    ),
    "freeze, all": (
        lambda: trained(freeze="*"),
        ValueError,
        r"no parameter trains: all are frozen, .* \(the model's: .*weight\); pass train=",
    ),
    "freeze, misspelt": (lambda: trained(freeze="haed"), ValueError, "did you mean 'head'?"),
    "roles, misspelt": (
        lambda: trained(roles=["wieght"]),
        ValueError,
        "no role is named 'wieght'; did you mean 'weight'?",
    ),
    "keep_zeros, misspelt": (lambda: trained(keep_zeros="haed"), ValueError, "mean 'head'"),
    "partition": (lambda: MODULE.partition("haed*"), ValueError, "did you mean 'head'?"),
    "apply_train": (
        lambda: MODULE.apply_train(MODULE.params, X, train=["haed"]),
        ValueError,
        "no parameter matches 'haed'; did you mean 'head'?",
    ),
    "replace": (
        lambda: MODULE.replace({"haed": X}),
        ValueError,
        "no parameter is named 'haed'; did you mean 'head'?",
    ),
    # Values of the graph
    "outputs": (
        lambda: trained(outputs=["logit"]),
        ValueError,
        "no value is named 'logit'; did you mean 'logits'?",
    ),
    "outputs of apply": (
        lambda: MODULE.apply(MODULE.params, X, outputs="logit"),
        ValueError,
        "no value is named 'logit'; did you mean 'logits'?",
    ),
    "cut": (
        lambda: MODULE.cut(outputs=["logit"]),
        ValueError,
        "no value is named 'logit'; did you mean 'logits'?",
    ),
    "cut, nothing like it": (
        lambda: MODULE.cut(outputs="q"),
        ValueError,
        r"no value is named 'q'; there are logits, x, /encoder.*, \.\.\.",
    ),
    "replace_head": (
        lambda: MODULE.replace_head("logit", classes=5),
        ValueError,
        "no value is named 'logit'; did you mean 'logits'?",
    ),
    # Losses and metrics
    "metrics": (
        lambda: evaluate((X, Y), metrics="acuracy"),
        ValueError,
        "no metric is named 'acuracy'; did you mean 'accuracy'?",
    ),
    "loss": (
        lambda: fit((X, Y), "crossentropy"),
        ValueError,
        "no loss is named 'crossentropy'; did you mean 'cross_entropy'?",
    ),
    # Calls
    "call, no such input": (lambda: MODULE(y=X), TypeError, "no input is named 'y'; there are x"),
    "call, no input": (MODULE, TypeError, "missing inputs: x"),
    "call, too many": (lambda: MODULE(X, X), TypeError, r"takes 1 inputs \(x\), got 2"),
    "call, one sample": (
        lambda: MODULE(X[0]),
        ValueError,
        r"takes shape \[N, 4\], got \[4\]; one sample is a batch of one, x\[None\]",
    ),
    "call, another dtype": (lambda: MODULE(X.astype(int)), TypeError, "float32, got int64"),
    "call, a file's name": (lambda: MODULE("cat.png"), TypeError, "float32, got <U7 'cat.png'"),
    "run, in order": (
        lambda: MODULE.run(X),
        TypeError,
        r"run takes a dict of inputs by name \(x\), got ndarray; module\(x\) takes them in order",
    ),
    "apply, without parameters": (
        lambda: MODULE.apply(X),
        TypeError,
        r"the parameters come first, as in module\.apply\(module\.params, x\); got ndarray",
    ),
    "apply, with a few": (
        lambda: MODULE.apply({"head": MODULE.params["head"]}, X),
        TypeError,
        r"params lacks \['model\.encoder.* and 498 more\]",
    ),
    "autocast": (
        lambda: MODULE.autocast("bfloat61"),
        TypeError,
        "dtype is a floating-point type, as 'bfloat16', got 'bfloat61'",
    ),
    "compute_dtype": (
        lambda: trained(compute_dtype="bf16"),
        TypeError,
        "compute_dtype is a floating-.*, got 'bf16'",
    ),
    # Data
    "another name": (
        lambda: fit({"input": X, "y": Y}, "cross_entropy"),
        TypeError,
        r"missing inputs: x; the data has 'input', 'y': rename=\{'name': 'x'\} says which",
    ),
    "no targets": (
        lambda: fit({"x": X}, "cross_entropy"),
        TypeError,
        r"cross_entropy is of one array of targets: the data is inputs alone; pass \(inputs, targ",
    ),
    "two targets": (
        lambda: fit({"x": X, "y": Y, "row": Y}, "cross_entropy"),
        TypeError,
        "is of one array of targets, and the data has 'row', 'y' beside the inputs: leave out",
    ),
    "labels are text": (
        lambda: fit((X, np.array(["cat", "dog"] * 4)), "cross_entropy"),
        TypeError,
        "targets are text: a loss takes numbers, such as those of classes",
    ),
    "inputs alone": (lambda: fit(X, "cross_entropy"), TypeError, r"a tuple \(inputs, targets\)"),
    "samples, one by one": (
        lambda: fit(iter(zip(X, Y, strict=True)), "cross_entropy"),
        TypeError,
        r"zip gives samples one by one, and batches are needed: data\.batch\(32\) makes them",
    ),
    "rename, from": (
        lambda: fit({"pixel": X, "y": Y}, "cross_entropy", rename={"pixels": "x"}),
        TypeError,
        "rename: no array of the data is named 'pixels'; did you mean 'pixel'?",
    ),
    "rename, to": (
        lambda: fit({"pixel": X, "y": Y}, "cross_entropy", rename={"pixel": "xx"}),
        ValueError,
        "rename: no input is named 'xx'; did you mean 'x'?",
    ),
    "batch_axis, its name": (
        lambda: trained(batch_axis={"h0": 1}),
        ValueError,
        "batch_axis: no input or target is named 'h0'; there are targets, x",
    ),
    "batch_axis, its axis": (
        lambda: trained(batch_axis={"x": 2}),
        ValueError,
        r"batch_axis: there is no axis 2 in shape \[8, 4\]",
    ),
    "bucket": (
        lambda: trained(bucket={"seq": 8}),
        ValueError,
        "bucket: no symbolic dimension is named 'seq'; there are N",
    ),
    "bucket of samples": (
        lambda: trained(bucket={"N": 8}),
        ValueError,
        "bucket is of lengths, not of the number of samples: see batch_size",
    ),
    "epochs": (lambda: trained(epochs=1.5), TypeError, r"epochs is a whole number of .*, got 1\.5"),
    "batch_size": (lambda: trained(batch_size="8"), TypeError, "a whole number of .*, got '8'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_message_helps(mistake: str) -> None:
    wrong, kind, text = MISTAKES[mistake]
    with pytest.raises(kind) as caught:
        wrong()
    message = str(caught.value)
    assert re.search(text.replace("?", r"\?") if text.endswith("?") else text, message), message
    assert len(message) <= LONGEST


@pytest.mark.parametrize("roll", [None, False], ids=["loops", "nodes"])
def test_operands_that_must_be_known_are_told_on_one_screen(roll: bool | None) -> None:
    module = onnxla.load(DETECTOR, roll=roll)
    with pytest.raises(onnxla.StaticOperandError) as caught:
        jax.jit(module.apply)(module.params, X)
    message = str(caught.value)
    assert ("and 499 more" in message) is (roll is False)  # of the parameters
    assert "and 29 more. A call, module(...), evaluates them" in message
    assert len(message) <= (800 if roll is False else LONGEST)
    targets = np.zeros((8, 3), np.float32)
    with pytest.raises(onnxla.StaticOperandError, match=r"and 49\d more, which train") as caught:
        onnxla.fit(module, (X, targets), "mse", progress=False)
    assert len(str(caught.value)) <= LONGEST


def test_one_name_needs_no_list() -> None:
    whole = MODULE.apply(MODULE.params, X, outputs=[LAST])
    np.testing.assert_array_equal(MODULE.apply(MODULE.params, X, outputs=LAST), whole)
    assert MODULE.cut(outputs=LAST).output_names == (LAST,)
    assert [*MODULE.partition(roles="weight")[0]] == [*MODULE.partition(roles=["weight"])[0]]


def test_lists_of_names_take_little_room() -> None:
    assert listed(NAMES, str) == f"{NAMES[0]}, {NAMES[1]} and 498 more"
    assert listed([*"abc"]) == "'a', 'b', 'c'"
    assert len(nearest("q", NAMES)) < 300
    assert nearest("LAYERS.7.*", NAMES) == f"did you mean '{NAMES[7]}'?"
    assert nearest("ad", ["a_long_head"]).startswith("there are")


@pytest.mark.parametrize("function", [onnxla.fit, onnxla.evaluate])
def test_a_path_is_no_module(function: Any) -> None:
    with pytest.raises(TypeError, match=r"onnxla.load\('model.onnx'\) makes; got 'some.onnx'"):
        function("some.onnx", (X, Y), "mse")
    with pytest.raises(TypeError, match="a Module is needed"):
        onnxla.predict("some.onnx", X)


def test_a_run_too_short_for_an_update() -> None:
    with pytest.raises(ValueError, match="accumulate=10 steps make one update, and there are 2"):
        onnxla.fit(MODULE, (X, Y), "cross_entropy", batch_size=len(X), epochs=2, accumulate=10)
    result = onnxla.fit(MODULE, (X, Y), "cross_entropy", batch_size=4, epochs=2, accumulate=3)
    assert "accumulate=3: no update by the last 1 steps" in result.history.notes


def test_lengths_are_told_by_name() -> None:
    with pytest.raises(TypeError, match="bucket is a dict by name, got 16"):
        onnxla.fit(MODULE, (X, Y), "cross_entropy", bucket=16)
