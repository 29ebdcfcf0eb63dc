"""Repeated blocks as loops: which are found, and that the results stay the same."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import onnxla
from onnxla.interpret.rolling.roll import Roll
from support.small_models import header, make

pytestmark = pytest.mark.quickly

N = 5  # blocks


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(0, 0.5, shape).astype(np.float32)


def each(prefix: str, *shape: int, n: int = N) -> dict[str, np.ndarray]:
    """A weight for each block."""
    return {f"{prefix}{i}": normal(*shape, seed=i) for i in range(n)}


@dataclass(frozen=True)
class Repeated:
    """A model of blocks, in which {i} is a block's number and {j} that of the next one.

    Attributes:
        block: A block's nodes.
        loops: The numbers of blocks in the loops that are to be found.
        state: The number of values that a block hands on.
        before: Nodes before the blocks.
        after: Nodes after them, up to y.
        inputs: Inputs beside x0 [B, 3, 4].
        outputs: Outputs beside y.
        functions: Model-local functions.
        tensors: Initializers.
        extra: Numbers of blocks, with what has to be written before their nodes.
    """

    block: str
    loops: tuple[int, ...] = (N,)
    state: int = 1
    before: str = ""
    after: str = "y = Identity (x5)"
    inputs: str = ""
    outputs: str = ""
    functions: str = ""
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    extra: Mapping[int, str] = field(default_factory=dict)

    def model(self) -> onnx.ModelProto:
        blocks = [self.extra.get(i, "") + self.block.format(i=i, j=i + 1) for i in range(N)]
        head = header().replace("]", ', "f" : 1]') if self.functions else header()
        text = f"""{head} m (float[B, 3, 4] x0{self.inputs}) => (float[B, 3, 4] y{self.outputs}) {{
            {self.before} {" ".join(blocks)} {self.after} }} {self.functions}"""
        return onnx.load_from_string(make(text, **self.tensors))

    def given(self) -> dict[str, np.ndarray]:
        inputs = {"x0": normal(2, 3, 4), "mask": normal(2, 3, 4), "c0": normal(2, 4)}
        return {k: v for k, v in inputs.items() if k == "x0" or f" {k}" in self.inputs}


LAYER = """n{i} = LayerNormalization (x{i}, g{i}) a{i} = MatMul (n{i}, w{i}) t{i} = Tanh (a{i})
           b{i} = MatMul (t{i}, v{i}) x{j} = Add (x{i}, b{i}) """
LAYERS = each("g", 4) | each("w", 4, 6) | each("v", 6, 4)
STEP = """p{i} = Gather <axis = 1> (x0, i{i}) m{i} = MatMul (p{i}, w) r{i} = MatMul (h{i}, u)
          s{i} = Add (m{i}, r{i}) o{i} = Sigmoid (s{i}) k{i} = Mul (o{i}, c{i})
          c{j} = Add (k{i}, m{i}) z{i} = Tanh (c{j}) h{j} = Mul (o{i}, z{i}) """
CELL = {"w": normal(4, 4), "u": normal(4, 4, seed=1)}
ENDS = "e = Unsqueeze (h5, one) y = Add (x0, e)"
ONE = {"one": np.array([1])}
INDICES = {f"i{i}": np.array(i % 3) for i in range(N)}

MODELS = {
    "layers": Repeated(LAYER, tensors=LAYERS),
    "normalized after": Repeated(
        """a{i} = MatMul (x{i}, w{i}) b{i} = Relu (a{i}) c{i} = MatMul (b{i}, v{i})
           d{i} = Add (c{i}, x{i}) x{j} = LayerNormalization (d{i}, g{i}) """,
        tensors=LAYERS,
    ),
    "a mask for all": Repeated(
        """a{i} = Mul (x{i}, bias) b{i} = MatMul (a{i}, w{i}) c{i} = Softmax (b{i})
           x{j} = Add (x{i}, c{i}) """,
        before="bias = Exp (mask) ",
        inputs=", float[B, 3, 4] mask",
        tensors=each("w", 4, 4),
    ),
    "a mask made in the first block": Repeated(
        """a{i} = Mul (x{i}, bias) b{i} = MatMul (a{i}, w{i}) c{i} = Softmax (b{i})
           x{j} = Add (x{i}, c{i}) """,
        extra={0: "bias = Exp (mask) "},
        inputs=", float[B, 3, 4] mask",
        tensors=each("w", 4, 4),
    ),
    "the input again in each block": Repeated(
        "a{i} = MatMul (x{i}, w{i}) b{i} = Tanh (a{i}) x{j} = Add (b{i}, x0) ",
        tensors=each("w", 4, 4),
    ),
    "outputs of each block": Repeated(
        LAYER,
        after="y = Identity (x5)",
        outputs=", float[B, 3, 6] t0, float[B, 3, 6] t3, float[B, 3, 4] x2, float[B, 3, 6] t4",
        tensors=LAYERS,
    ),
    "all blocks are used": Repeated(LAYER, after="y = Sum (x1, x2, x3, x4, x5)", tensors=LAYERS),
    "the same weights": Repeated(
        "a{i} = MatMul (x{i}, w) b{i} = Tanh (a{i}) x{j} = Add (x{i}, b{i}) ",
        tensors={"w": normal(4, 4)},
    ),
    "steps of a recurrent network": Repeated(
        STEP,
        state=2,
        before="h0 = Identity (c0) ",
        inputs=", float[B, 4] c0",
        after=ENDS,
        tensors=CELL | ONE | INDICES,
    ),
    "a state that grows in the first step": Repeated(
        STEP,
        state=2,
        before="h0 = Tanh (z) c0 = Tanh (z) ",
        after=ENDS,
        tensors=CELL | ONE | INDICES | {"z": np.zeros((1, 4), np.float32)},
    ),
    "steps that slice": Repeated(
        """p{i} = Slice (x0, i{i}, k{i}, one) q{i} = MatMul (p{i}, w) r{i} = Tanh (q{i})
           s{i} = Mul (x{i}, r{i}) x{j} = Add (s{i}, x{i}) """,
        tensors={"w": normal(4, 4)}
        | ONE
        | {f"i{i}": np.array([i % 3]) for i in range(N)}
        | {f"k{i}": np.array([i % 3 + 1]) for i in range(N)},
    ),
    "constants as nodes": Repeated(
        """e{i} = Constant <value = float {{2}}> ()
           s{i} = Constant <value = int64[3] {{0, 3, 4}}> ()
           f{i} = Constant <value_float = {i}.5> ()
           a{i} = Pow (x{i}, e{i}) b{i} = Reshape (a{i}, s{i}) c{i} = MatMul (b{i}, w{i})
           d{i} = Mul (c{i}, f{i}) x{j} = Tanh (d{i}) """,
        tensors=each("w", 4, 4),
    ),
    "shapes computed in each block": Repeated(
        """s{i} = Shape (x{i}) a{i} = Reshape (x{i}, flat) b{i} = MatMul (a{i}, w{i})
           c{i} = Reshape (b{i}, s{i}) x{j} = Tanh (c{i}) """,
        tensors=each("w", 4, 4) | {"flat": np.array([-1, 4])},
    ),
    "functions": Repeated(
        "x{j} = f.layer <alpha = 0.5> (x{i}, w{i}) ",
        functions="""<domain: "f", opset_import: ["": 20]> layer <alpha> (x, w) => (y) {
            a = MatMul (x, w) b = LeakyRelu <alpha: float = @alpha> (a) y = Add (b, x) }""",
        tensors=each("w", 4, 4),
    ),
    "blocks in a function": Repeated(
        "",
        (3,),
        after="y = f.three (x0, w0, w1, w2)",
        functions="""<domain: "f", opset_import: ["": 20]> three (x, u, v, w) => (y) {
            a = MatMul (x, u) b = Tanh (a) c = MatMul (b, v) d = Tanh (c)
            e = MatMul (d, w) y = Tanh (e) }""",
        tensors=each("w", 4, 4),
    ),
    "two kinds of blocks": Repeated(
        LAYER,
        (5, 3),
        after="""p0 = MatMul (x5, u0) q0 = Sigmoid (p0) r0 = Mul (q0, x5)
                 p1 = MatMul (r0, u1) q1 = Sigmoid (p1) r1 = Mul (q1, x5)
                 p2 = MatMul (r1, u2) q2 = Sigmoid (p2) y = Mul (q2, x5)""",
        tensors=LAYERS | each("u", 4, 4),
    ),
    "values in two roles": Repeated(
        """a{i} = MatMul (x{i}, w{i}) b{i} = Mul (a{i}, x0) c{i} = Add (b{i}, g{i})
           d{i} = Mul (c{i}, g0) x{j} = Tanh (d{i}) """,
        tensors=each("w", 4, 4) | each("g", 4),
    ),
    "weights used elsewhere too": Repeated(
        LAYER, after="z = MatMul (x5, w1) q = MatMul (z, v3) y = Add (q, x5)", tensors=LAYERS
    ),
    "a block that is another": Repeated(
        LAYER,
        (3,),
        state=2,
        after="y = Identity (x5)",
        tensors=LAYERS | {"w1": normal(4, 7), "v1": normal(7, 4)},
    ),
    "blocks that reach further back": Repeated(
        "a{i} = MatMul (x{i}, w{i}) b{i} = Tanh (a{i}) x{j} = Add (b{i}, z{i}) ",
        (3,),  # of which none needs another but the one before
        before="z0 = Exp (x0) z1 = Exp (x0) ",
        extra={i: f"z{i} = Identity (x{i - 2}) " for i in (2, 3, 4)},
        tensors=each("w", 4, 4),
    ),
    "running statistics": Repeated(
        """a{i} = MatMul (x{i}, w{i}) b{i} = BatchNormalization (a{i}, s, s, m{i}, n{i})
           x{j} = Relu (b{i}) """,
        (),
        tensors=each("w", 4, 4)
        | each("m", 3)
        | {f"n{i}": np.ones(3, np.float32) for i in range(N)}
        | {"s": normal(3)},
    ),
}


def loops(module: onnxla.Module) -> list[Roll]:
    program = module.program
    scopes = [
        program.lowered(None).nodes,
        *(f.nodes for f in program.lowering.functions_for(2).values()),
    ]
    return [node for nodes in scopes for node in nodes if isinstance(node, Roll)]


def check(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> onnxla.Module:
    """Compares values and gradients with those without loops."""
    options: list[dict[str, bool]] = [{"roll": True}, {"remat": True}, {"roll": False}]
    module, again, plain = (onnxla.load(model, **each) for each in options)
    for got, want in zip(module.run(inputs).values(), plain.run(inputs).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)

    def gradient(module: onnxla.Module) -> Any:
        def loss(params: Any, inputs: Any) -> Any:
            outputs = jax.tree.leaves(module.apply(params, inputs))
            return sum(jnp.sum(jnp.sin(y)) for y in outputs)

        return jax.jit(jax.grad(loss, (0, 1)))(module.params, inputs)

    want = gradient(plain)
    for got in map(gradient, (module, again)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)
    return module


@pytest.mark.parametrize("name", MODELS)
def test_loops_and_what_they_compute(name: str) -> None:
    case = MODELS[name]
    module = check(case.model(), case.given())
    found = loops(module)
    assert sorted(len(loop.blocks) for loop in found) == sorted(case.loops)
    assert all(len(loop.state) <= case.state for loop in found)
    jaxpr = str(jax.make_jaxpr(module.apply)(module.params, case.given()))
    assert jaxpr.count("scan[") == len(case.loops)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["layers", "a mask for all", "steps of a recurrent network"])
def test_neither_names_nor_order_matter(name: str, seed: int) -> None:
    case = MODELS[name]
    model = case.model()
    rng = random.Random(seed)
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    made = {o for node in model.graph.node for o in node.output} | {
        tensor.name for tensor in model.graph.initializer
    }
    names = sorted(made - ends)
    new = dict(
        zip(names, rng.sample([f"v{k}" for k in range(len(names))], len(names)), strict=True)
    )
    for tensor in model.graph.initializer:
        tensor.name = new.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for names_of in (node.input, node.output):
            names_of[:] = [new.get(name, name) for name in names_of]
    nodes, done = [*model.graph.node], {*ends, *(t.name for t in model.graph.initializer)}
    ordered = []
    while nodes:  # any order in which they can be run
        ready = [node for node in nodes if done.issuperset(node.input)]
        node = rng.choice(ready)
        nodes.remove(node)
        ordered.append(node)
        done.update(node.output)
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    module = check(model, case.given())
    assert [len(loop.blocks) for loop in loops(module)] == [*case.loops]


def test_intermediate_values_of_any_block() -> None:
    case = MODELS["layers"]
    module, plain = (onnxla.load(case.model(), roll=roll) for roll in (True, False))
    wanted = ["x3", "t0", "b4", "x5"]
    got, want = (m.apply(m.params, case.given(), outputs=wanted) for m in (module, plain))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["layers", "two kinds of blocks", "weights used elsewhere too"])
def test_parameters_of_blocks_as_one_array(name: str) -> None:
    case = MODELS[name]
    module, plain = (onnxla.load(case.model(), roll=roll) for roll in (True, False))
    params = module.stacked(module.params)
    joined = {np.shape(value)[0] for name, value in params.items() if name not in module.params}
    assert joined == {*case.loops}

    def gradient(module: onnxla.Module, params: Any) -> Any:
        return jax.grad(lambda p: jnp.sum(jnp.sin(module.apply(p, case.given()))))(params)

    got, want = module.by_name(gradient(module, params)), gradient(plain, plain.params)
    assert got.keys() == want.keys()
    for key in want:
        np.testing.assert_allclose(got[key], want[key], rtol=1e-5, atol=1e-6)
    back = module.by_name(params)
    assert all(np.array_equal(back[key], module.params[key]) for key in back)


def test_some_parameters_as_one_array() -> None:
    module = onnxla.load(MODELS["layers"].model(), roll=True)
    train, frozen = module.partition("w*", "v1")
    some = module.stacked(train)
    assert sorted(some) == ["v1", "w0 and 4 more"]
    x = MODELS["layers"].given()
    got = module.apply({**some, **module.stacked(frozen)}, x)
    np.testing.assert_allclose(got, module(x), rtol=1e-5)
    with pytest.raises(TypeError, match=r"params lacks \['w0 and 4 more'\]|params lacks"):
        module.apply({**module.stacked(frozen), "v1": train["v1"]}, x)
    with pytest.raises(TypeError, match="no parameters \\['other'\\]"):
        module.apply({**some, **frozen, "other": x}, x)


def test_a_stack_has_an_entry_for_each_of_its_parameters() -> None:
    module = onnxla.load(MODELS["layers"].model(), roll=True)
    x, stacked = MODELS["layers"].given(), module.stacked(module.params)
    for wrong in (lambda v: v[:4], lambda v: jnp.concatenate([v, v]), lambda v: v[0, 0, 0]):
        params = {**stacked, "w0 and 4 more": wrong(stacked["w0 and 4 more"])}
        for function in (module.by_name, lambda p: module.apply(p, x), jax.jit(module.by_name)):
            with pytest.raises(ValueError, match=r"'w0 and 4 more' is 5 parameters .*'w1', .* got"):
                function(params)


def test_nothing_to_stack_is_told() -> None:
    module = onnxla.load(MODELS["layers"].model(), roll=False)
    with pytest.warns(UserWarning, match="nothing is stacked: no blocks of nodes repeat"):
        assert module.stacked(module.params) == module.params


def test_only_long_repetition_is_a_loop_by_itself() -> None:
    few = onnxla.load(MODELS["layers"].model())
    assert not loops(few)
    block = LAYER.format
    text = " ".join(block(i=i, j=i + 1) for i in range(64))
    model = make(
        f"{header()} m (float[B, 3, 4] x0) => (float[B, 3, 4] x64) {{ {text} }}",
        **each("g", 4, n=64),
        **each("w", 4, 6, n=64),
        **each("v", 6, 4, n=64),
    )
    (loop,) = loops(onnxla.load(model))
    assert len(loop.blocks) == 64


def test_each_block_drops_other_values() -> None:
    case = Repeated(
        "a{i} = Dropout (x{i}, ratio) x{j} = Mul (a{i}, half) ",
        tensors={"ratio": np.array(0.5, np.float32), "half": np.array(0.5, np.float32)},
    )
    module = onnxla.load(case.model(), roll=True)
    assert loops(module)
    x = np.ones((50, 3, 4), np.float32)
    values, _ = module.apply_train(module.params, x, key=jax.random.key(0), outputs=["x1", "x2"])
    kept = [np.asarray(v) != 0 for v in values]
    assert 0.4 < kept[0].mean() < 0.6
    assert 0.15 < kept[1].mean() < 0.35  # half of those kept before


def test_an_error_in_a_block_names_the_node() -> None:
    case = MODELS["layers"]
    module = onnxla.load(case.model(), roll=True)
    params = {**module.params, "w2": normal(3, 6)}
    with pytest.raises(onnxla.ModelError, match="MatMul -> a2") as caught:
        module.apply(params, case.given())
    assert any("w2: float32[3, 6]" in note for note in caught.value.__notes__)


def test_what_a_gradient_keeps() -> None:
    def kept(**options: bool) -> int:
        model, inputs = MODELS["layers"].model(), MODELS["layers"].given()
        module = onnxla.load(model, **options)

        def loss(params: Any) -> Any:
            return sum(map(jnp.sum, jax.tree.leaves(module.apply(params, inputs))))

        _, backward = jax.vjp(loss, module.stacked(module.params))
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    assert kept(remat=True) < kept(roll=True)


def test_equal_constants_have_gradients_of_their_own() -> None:
    """Those of Constant nodes, too; and blocks that end up one by one read each by its name."""
    for shapes, upsampled in ((((2, 3),), False), (((2, 1, 2, 2),), True)):
        lines = []
        for i in range(N):
            lines.append(f"c{i} = Constant <value = float {{1.5}}> () d{i} = Mul (x{i}, c{i})")
            lines.append(f"e{i} = Tanh (d{i})")
            end = f"x{i + 1} = Resize (e{i}, , s{i})" if upsampled else f"x{i + 1} = Neg (e{i})"
            lines.append(end)
        shape = ", ".join(map(str, shapes[0]))
        text = f"{header()} m (float[{shape}] x0) => (float x{N}) {{ {' '.join(lines)} }}"
        scales = {f"s{i}": np.array([1, 1, 2, 1], np.float32) for i in range(N)}
        model = onnx.load_from_string(make(text, **(scales if upsampled else {})))
        module = check(model, {"x0": normal(*shapes[0])})
        assert len([name for name in module.params if name.startswith("c")]) == N
