"""Graphs and parameters on a mesh of devices, each test in a process that has several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.processes import TESTS, start, told

REPLICATING = {*(Path(__file__).parent / "replicating_operators.txt").read_text().split()}
PARTS = 8


@pytest.mark.one_in(PARTS)
@pytest.mark.parametrize("part", range(PARTS))
def test_operators(part: int) -> None:
    """Values and gradients are those of one device, and rows stay apart but where they may not."""
    rows = told(start(2, [str(TESTS / "support" / "sharded.py"), str(part), str(PARTS)]))
    assert len(rows) > 15
    assert [row for row in rows if row[2]] == []
    together = {
        name
        for name, axis, _, specs, gathers in rows
        if axis == 0 and (gathers or not any("data" in spec for spec in specs))
    }
    assert together == REPLICATING & {row[0] for row in rows}


MODEL = """
import contextlib, json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import onnxla
from support.small_models import header, make

rng = np.random.default_rng(0)
tensors = {"table": rng.normal(size=(512, 16)), "w": rng.normal(size=(16, 64)) / 4}
tensors |= {"v": rng.normal(size=(64, 16)) / 8, "b": rng.normal(size=16)}
model = make(
    header() + " m (int64[N, S] ids, float[N, S] mask) => (float[N, 16] y, float z) {"
    "shape = Constant <value_ints = [0, 0, 16]> ()"
    "last = Constant <value_ints = [1]> ()"
    "axes = Constant <value_ints = [2]> ()"
    "e = Gather (table, ids) h = MatMul (e, w) g = Gelu (h) r = MatMul (g, v) s = Add (r, b)"
    "q = Reshape (s, shape) weights = Unsqueeze (mask, axes) p = Mul (q, weights)"
    "y = ReduceSum <keepdims = 0> (p, last) z = ReduceMean <keepdims = 0> (y) }",
    **{name: x.astype(np.float32) for name, x in tensors.items()},
)
kinds = {"explicit": AxisType.Explicit, "auto": AxisType.Auto}
mesh = jax.make_mesh((2,), ("data",), axis_types=(kinds[sys.argv[1]],))
base = onnxla.load(model)
module = base.with_sharding(mesh, json.loads(sys.argv[2]))
inputs = {"ids": rng.integers(0, 512, (8, 5)), "mask": np.ones((8, 5), np.float32)}
# Of copies: jaxlib keeps the int32 array that it made of an int64 one, and takes it for int64.
split = jax.device_put(jax.tree.map(np.copy, inputs), NamedSharding(mesh, P("data")))

def loss(params, inputs):
    outputs, updates = module.apply_train(params, inputs)
    return sum((y**2).mean() for y in outputs)

def most(found, expected):
    return max(float(np.abs(np.asarray(a) - b).max()) for a, b in zip(
        jax.tree.leaves(found), map(np.asarray, jax.tree.leaves(expected)), strict=True))

with jax.set_mesh(mesh) if sys.argv[3] == "set" else contextlib.nullcontext():
    called, jitted = module(**split), jax.jit(module.apply)(module.params, **split)
    gradient = jax.jit(jax.grad(loss))(module.params, split)
    text = jax.jit(module.apply).lower(module.params, **split).compile().as_text()
print(json.dumps({
    "wrong": [most(called, base(**inputs)), most(jitted, base(**inputs)),
              most(gradient, jax.grad(loss)(base.params, inputs))],
    "outputs": [str(y.sharding.spec) for y in (*called, *jitted)],
    "params": {name: str(x.sharding.spec) for name, x in module.params.items()},
    "gradient": {name: str(x.sharding.spec) for name, x in gradient.items()},
    "gathers": "all-gather" in text,
}))
"""


@pytest.mark.parametrize("axes", ["explicit", "auto"])
@pytest.mark.parametrize(("rules", "mesh"), [(None, "set"), ("fsdp", "set"), (None, "not set")])
def test_a_model(axes: str, rules: str | None, mesh: str) -> None:
    (seen,) = told(start(2, ["-c", MODEL, axes, json.dumps(rules), mesh]))
    assert max(seen["wrong"]) < 1e-5
    split = {name for name, spec in seen["params"].items() if "data" in spec}
    assert split == (set() if rules is None else {"table"})
    assert all("data" in spec for spec in seen["outputs"][::2])
    if rules is None:
        assert not seen["gathers"]


LOADED = """
import json, sys
import jax, numpy as np, onnx
from jax.sharding import PartitionSpec as P
import onnxla
from onnxla.ir import files
from support.small_models import header, make

rng = np.random.default_rng(0)
w, v, b = (rng.normal(size=s).astype(np.float32) for s in ((64, 8192), (8192, 64), 64))
model = make(
    header() + " m (float[N, 64] x) => (float[N, 64] y)"
    "{ h = MatMul (x, w) g = Gelu (h) r = MatMul (g, v) y = Add (r, b) }", w=w, v=v, b=b,
)
path = sys.argv[1] + "/model.onnx"
onnx.save(model, path, save_as_external_data=True, location="data", size_threshold=1024)
count, original = [], files.OpenFile.read
files.OpenFile.read = lambda *args: count.append(args[2]) or original(*args)
mesh = jax.make_mesh((2,), ("data",))
rules = {"columns": {"w": P(None, "data"), "v": P("data")}, "fsdp": "fsdp"}[sys.argv[2]]
x = np.ones((4, 64), np.float32)
expected = onnxla.load(path).with_sharding(mesh, rules)
once, count[:] = sum(count), []
module = onnxla.load(path, mesh=mesh, sharding=rules)
print(json.dumps({
    "same": all(p.sharding == expected.params[k].sharding for k, p in module.params.items())
        and jax.tree.all(jax.tree.map(np.array_equal, module.params, expected.params)),
    "parts": {k: [*p.addressable_shards[1].data.shape] for k, p in module.params.items()},
    "most": float(np.abs(module(x) - expected(x)).max()),
    "bytes": sum(count) - once,
}))
"""


@pytest.mark.parametrize("rules", ["fsdp", "columns"])
def test_a_file_is_read_in_parts(rules: str, tmp_path: Path) -> None:
    """Each device has what `with_sharding` gives it, and nothing is read twice."""
    (seen,) = told(start(2, ["-c", LOADED, str(tmp_path), rules]))
    assert seen["same"]
    assert seen["most"] < 1e-5
    assert seen["parts"] == {"w": [64, 4096], "v": [4096, 64], "b": [64]}
    assert seen["bytes"] <= 64 * 4  # the bias is on both devices
