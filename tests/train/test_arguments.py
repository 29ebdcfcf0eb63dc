"""Arguments of a wrong kind or value: told by their names before anything is done."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import onnxla
from onnxla.arguments import EXPORT, LOAD, MODULE
from onnxla.draw.drawing import DRAW
from onnxla.generate import Decoder
from onnxla.generate.arguments import DECODER, GENERATE
from onnxla.train.arguments import EVALUATE, FIT, READING, SEARCH
from support.decoders import gpt
from support.small_models import linear

X = np.ones((8, 3), np.float32)
DATA = (X, np.zeros(8, np.int64))


@functools.cache
def module() -> onnxla.Module:
    return onnxla.load(linear())


@functools.cache
def decoder() -> Decoder:
    return Decoder(onnxla.load(gpt()))


ENTRIES: dict[str, Callable[..., Any]] = {
    "load": lambda **given: onnxla.load(linear(), **given),
    "fit": lambda **given: onnxla.fit(module(), DATA, **{"loss": "cross_entropy", **given}),
    "evaluate": lambda **given: onnxla.evaluate(module(), DATA, **given),
    "predict": lambda **given: onnxla.predict(module(), DATA, **given),
    "lr_find": lambda **given: onnxla.lr_find(module(), DATA, "cross_entropy", **given),
    "generate": lambda **given: decoder().generate(**{"ids": [3, 1], **given}),
    "Decoder": lambda **given: Decoder(onnxla.load(gpt()), **given),
    "call": lambda **given: module()(X, **given),
    **{
        name: functools.partial(lambda name, /, **given: getattr(module(), name)(**given), name)
        for name in (
            *("autocast", "lora", "insert_dropout", "upgrade", "free_batch", "with_sharding"),
            *("replace_head", "save", "labels", "cut", "stacked", "by_name", "replace"),
            *("partition", "freeze", "save_adapters"),
        )
    },
    "apply": lambda **given: module().apply(module().params, X, **given),
    "apply_train": lambda **given: module().apply_train(module().params, X, **given),
}
WRONG: dict[str, dict[str, tuple[Any, ...]]] = {
    "load": {
        "roll": ("yes", 1),
        "remat": ("dots", None),
        "matmul_precision": ("fast", 5),
        "cache": (5, None),
        "limits": (10,),
        "folder": (5,),
    },
    "fit": {
        "loss": (5, None, ["mse"]),
        "epochs": (0, 2.5, True, "3"),
        "steps": (-1, 1e3),
        "batch_size": (2.5, 0, "32", None),
        "shuffle": ("no", 0),
        "rename": ("x", [("a", "x")]),
        "batch_axis": (1, {"x": "first"}),
        "bucket": (16,),
        "train": (5, [5], {"head": True}),
        "roles": (5,),
        "freeze": (5, None),
        "freeze_statistics": (5,),
        "keep_zeros": (5,),
        "outputs": (5, [0]),
        "optimizer": (0.1, type("Adam", (), {"init": 0, "update": 0})),
        "learning_rate": ("fast", -1, 0, float("nan"), float("inf"), True),
        "schedule": (5, lambda step: 1.0),
        "warmup": (-1, 2, "short"),
        "accumulate": (0, 1.5),
        "clip_norm": (-1, 0, "1"),
        "weight_average": ("x", 1, True),
        "validation": (0, 1, True, 1.5, "val.csv", float("nan")),
        "validate_every": (0, "epoch"),
        "metrics": (5, None, [5]),
        "class_weight": ("x", 5, {"cat": 1.0}, {0: "a"}, {0: -1.0}, [[1.0, 2.0]], ["a", "b"]),
        "monitor": (5, ("a", "b", "c")),
        "min_delta": ("a", -1),
        "patience": (0, "few"),
        "callbacks": (5, [5], None),
        "compute_dtype": ("bf", "int8", 5),
        "matmul_precision": ("fast", 5),
        "remat": ("dots", 1),
        "seed": (-1, "a", 1.5, 2**64),
        "checkpoint": (5, True),
        "checkpoint_every": (0, "epoch"),
        "resume": ("no",),
        "progress": ("yes", 1),
    },
    "evaluate": {
        "loss": (5,),
        "metrics": (5,),
        "batch_size": (0, "all"),
        "outputs": (5,),
        "class_weight": ("x",),
        "rename": (5,),
        "batch_axis": (5,),
        "bucket": (5,),
        "progress": ("yes",),
    },
    "predict": {
        "batch_size": (0, 2.5),
        "outputs": (5,),
        "rename": (5,),
        "batch_axis": (5,),
        "bucket": (5,),
        "progress": ("yes",),
    },
    "lr_find": {
        "lowest": (0, "a"),
        "highest": (0, "a"),
        "steps": (9, 10.5),
        "seed": (-1,),
        "batch_size": ("x",),
    },
    "generate": {
        "ids": ([[1, 2], [3]], "text"),
        "attention_mask": ([[1, 2], [3]],),
        "max_new_tokens": ("9", 0, 2.5),
        "eos": ("x", 1.5, [[1, 2]]),
        "pad": ("x", -1),
        "temperature": ("hot", -1, float("nan")),
        "top_k": (-1, 0, 2.5),
        "top_p": (2, 0, "most"),
        "repetition_penalty": (0, "a"),
        "key": (0, "a"),
        "beams": (0, 1.5),
        "inputs": (5,),
        "params": (5,),
        "stream": ("yes",),
        "progress": ("yes",),
    },
    "Decoder": {"length": (0, "long"), "caches": (5,)},
    "call": {"key": (0,)},
    "autocast": {"dtype": ("bf", "int8", None)},
    "lora": {"rank": (0, "8"), "alpha": (0, "a"), "also_train": (5,), "key": (0,)},
    "insert_dropout": {"after": (5,), "ratio": (0, 1, "a")},
    "upgrade": {"opset": ("new", -1)},
    "free_batch": {"name": (5,)},
    "with_sharding": {"mesh": (2,), "rules": (5,)},
    "replace_head": {"features": (5,), "classes": (0, "a"), "softmax": ("no",), "name": (5,)},
    "save": {
        "path": (5,),
        "merge": ("no",),
        "switchable": ("no",),
        "external_data": (5,),
        "tolerance": (-1, "a"),
    },
    "labels": {"groups": ("head.*",), "default": (5,)},
    "cut": {"inputs": (5,), "outputs": (5,)},
    "stacked": {"params": (5,), "outputs": (5,)},
    "by_name": {"params": (5,), "outputs": (5,)},
    "replace": {"params": (5,)},
    "partition": {"roles": (5,)},
    "freeze": {"roles": (5,)},
    "save_adapters": {"path": (5,)},
    "apply": {"key": (0,), "outputs": (5,)},
    "apply_train": {"key": (0,), "outputs": (5,), "train": (5,), "freeze_statistics": (5,)},
}
# What an argument needs beside it to be looked at.
NEEDED: dict[str, dict[str, Any]] = {
    "insert_dropout": {"after": "h"},
    "replace_head": {"features": "h", "classes": 2},
    "save": {"path": "/nowhere/model.onnx"},
    "save_adapters": {"path": "/nowhere/adapters"},
    "labels": {"groups": {}},
    "stacked": {"params": {}},
    "by_name": {"params": {}},
    "with_sharding": {"mesh": None},
}
CASES = [
    (entry, name, value)
    for entry, arguments in WRONG.items()
    for name, values in arguments.items()
    for value in values
]


@pytest.mark.parametrize(
    ("entry", "name", "value"), CASES, ids=[f"{i}-{c[0]}-{c[1]}" for i, c in enumerate(CASES)]
)
def test_a_wrong_argument_is_told_by_its_name(entry: str, name: str, value: Any) -> None:
    given = {**NEEDED.get(entry, {}), name: value}
    if entry == "with_sharding" and name == "rules":
        given["mesh"] = jax.make_mesh((1,), ("data",))
    with pytest.raises((TypeError, ValueError)) as caught:
        ENTRIES[entry](**given)
    said = str(caught.value)
    shown = repr(value[0] if name == "callbacks" and isinstance(value, list) else value)[:100]
    assert re.match(rf"{name} (is|are) .*, got ", said.replace("; got", ", got"), re.DOTALL), said
    assert said.endswith(shown), said


PUBLIC: dict[str, tuple[Any, dict[str, Any], set[str]]] = {
    "fit": (onnxla.fit, FIT, {"module", "data", "callbacks"}),
    "evaluate": (onnxla.evaluate, EVALUATE, {"module", "data"}),
    "predict": (onnxla.predict, READING, {"module", "data"}),
    "lr_find": (onnxla.lr_find, SEARCH, {"module", "data", "loss", "options"}),
    "load": (onnxla.load, LOAD, {"source"}),
    "Decoder": (Decoder, DECODER, {"module"}),
    "generate": (Decoder.generate, GENERATE, {"self"}),
    **{
        name: (
            method,
            {"export_stablehlo": EXPORT, "draw": DRAW}.get(name, MODULE),
            {"self", "args", "kwargs", "inputs", "further", "overlay"},
        )
        for name, method in vars(onnxla.Module).items()
        if inspect.isfunction(method) and not name.startswith("_")
    },
}
# Of methods, what their own messages are about.
OWN = {"part", "model", "ids", "attention_mask", "options", "batch", "check", "form"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_is_in_a_table(name: str) -> None:
    function, table, others = PUBLIC[name]
    assert {*inspect.signature(function).parameters} - {*table} <= others | OWN
