"""Where parameters go on a mesh."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from onnxla.parameters.sharding import data_axis, shardings

MESH: Any = AbstractMesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
SHAPES = {
    "encoder.in.weight": (96, 64),
    "encoder.out.weight": (64, 96),
    "encoder.out.bias": (96,),
    "head.weight": (96, 5),
}
PARAMS = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
ROLES = {name: name.rpartition(".")[2] for name in SHAPES}


def specs(rules: Any) -> dict[str, P]:
    return {name: s.spec for name, s in shardings(PARAMS, ROLES, MESH, rules).items()}


def test_without_rules_everything_is_everywhere() -> None:
    assert specs(None) == dict.fromkeys(SHAPES, P())


def test_the_first_rule_that_chooses_a_parameter_counts() -> None:
    rules = {"head.*": P(), "weight": P(None, "model"), "*.bias": P("model"), "*.out.*": P("data")}
    assert specs(rules) == {
        "encoder.in.weight": P(None, "model"),
        "encoder.out.weight": P(None, "model"),
        "encoder.out.bias": P("model"),
        "head.weight": P(),
    }


def test_fsdp_splits_the_longest_axis_that_can_be() -> None:
    assert specs("fsdp") == {
        "encoder.in.weight": P("data"),
        "encoder.out.weight": P(None, "data"),
        "encoder.out.bias": P(),
        "head.weight": P(),
    }


def test_the_axis_of_the_data() -> None:
    assert data_axis(MESH) == "data"
    assert data_axis(AbstractMesh((2,), ("batch",), axis_types=(AxisType.Auto,))) == "batch"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ("zero", ValueError, "'fsdp', or a dict of specs by pattern; got 'zero'"),
        ({"head.weights": P()}, ValueError, r"no parameter matches 'head.weights'; did you mean"),
        ({"weight": "model"}, TypeError, "sharding of 'weight' is a PartitionSpec, got 'model'"),
        ({"head.weight": P(None, "model")}, ValueError, r"4 devices do not divide axis 1"),
        ({"*.bias": P(None, "model")}, ValueError, r"'encoder.out.bias' of shape \[96\].* 1 axes"),
        ({"weight": P("tensor")}, ValueError, r"has \['data', 'model'\], no axis 'tensor'"),
        ({"*.bias": P(("data", "model"))}, None, ""),
    ],
)
def test_what_does_not_fit(rules: Any, error: Any, message: str) -> None:
    if error is None:
        assert specs(rules)["encoder.out.bias"] == P(("data", "model"))
        return
    with pytest.raises(error, match=message):
        specs(rules)
