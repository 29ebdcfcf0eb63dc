"""Control flow. Subgraphs arrive as Python functions from values to a tuple of values.

A loop calls its body with the `step`, so that no two steps draw the same random numbers.

What is concrete runs as Python; what is traced becomes one of JAX's control-flow primitives, whose
steps must agree in dtypes and shapes, and else is unrolled. `Steps.form` says which, and why.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun

from onnxla.ir.dtypes import STRING
from onnxla.ir.errors import ModelError, StaticOperandError
from onnxla.ops.forward_only import forward_only
from onnxla.ops.limits import budget
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced, is_concrete, is_floating, is_known, xp

Subgraph = Callable[..., Sequence[Value]]

# A loop of at most so many steps that may end early is a scan that skips the steps after its end:
# unlike `lax.while_loop`, it can be differentiated in reverse.
SKIPPING_LIMIT = 1024
TRUE = np.asarray(True)
UNCOUNTABLE = (
    "how often a loop runs decides a shape, so its trip count and condition must be known while "
    "tracing"
)

NO_GRADIENT = (
    "the loop with the body '{}' has no gradient, since how often it runs depends on traced values "
    f"and it has no known bound of at most {SKIPPING_LIMIT} steps, M, up to which reverse mode "
    "could keep what it needs. Forward mode works (jax.jvp, jax.jacfwd), and so does the part "
    "after the loop: module.cut(inputs=[...])"
)


def signature(value: Value) -> Any:
    """The dtype and shape of a value; of a sequence, those of its elements."""
    if isinstance(value, list | tuple):
        return [signature(v) for v in value]
    return None if value is None else f"{value.dtype}{list(value.shape)}"


def as_carried(values: Sequence[Value]) -> list[Value]:
    """Values as JAX arrays. Raises: StaticOperandError if there are strings among them."""
    traced: list[Value] = as_traced(list(values))
    if any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(traced)):
        raise StaticOperandError("strings cannot depend on traced control flow")
    return traced


def nothing_like(value: Value) -> Value:
    """Zeros, or empty strings, of the dtype and shape of a value."""
    return np.full_like(value, "") if value.dtype == STRING else xp(value).zeros_like(value)


def is_true(value: Value) -> bool:
    """A concrete condition, of shape [] or [1]."""
    return bool(np.asarray(value).item())


def carrying(
    subgraph: Subgraph, carry: Sequence[Value], *args: Value, step: Value
) -> tuple[list[Value], list[Value]]:
    """What a subgraph returns in a step, and the next values of what it carries."""
    if not carry:
        return [*subgraph(*args, step=step)], []
    results = [*subgraph(*args, step=step, carry=carry)]
    own = len(results) - len(carry)
    return results[:own], results[own:]


@op("If", since=(1, 11, 13, 16, 19, 21, 23, 24, 25), controls=1)
def if_(
    cond: Value, *, then_branch: Subgraph, else_branch: Subgraph, carry: Sequence[Value] = ()
) -> tuple[Value, ...]:
    """The values of one of the branches. A traced condition needs branches of equal shapes."""
    if carry:
        then_branch, else_branch = (
            functools.partial(branch, carry=carry) for branch in (then_branch, else_branch)
        )
    if is_concrete(cond):
        return tuple(then_branch() if is_true(cond) else else_branch())
    found: list[Sequence[Value]] = []

    def run(branch: Subgraph) -> list[Value]:
        try:
            found.append(branch())
        except StaticOperandError:
            raise
        except Exception as error:
            # A branch may be meant for inputs of another shape, which its condition looks at.
            raise StaticOperandError(
                f"a branch of If fails for these inputs ({error}), so its condition must be known "
                "while tracing"
            ) from error
        if (ours := signature(found[-1])) != (first := signature(found[0])):
            raise StaticOperandError(
                f"the outputs of If's branches differ (then: {first}, else: {ours}), so its "
                "condition decides a shape and must be known while tracing"
            )
        return as_carried(found[-1])

    branches = (functools.partial(run, branch) for branch in (then_branch, else_branch))
    results = lax.cond(cond.reshape(()), *branches)
    # What is known, and the same in both branches, stays known.
    return tuple(
        a if isinstance(a, np.ndarray) and is_known(b) and np.array_equal(a, b) else result
        for a, b, result in zip(*found, results, strict=True)
    )


@dataclass(frozen=True)
class Form:
    """How a loop is run, and why.

    Attributes:
        kind: One step after another (unrolled), or one of JAX's loops. A masked scan skips the
            steps after the loop's end.
        reason: Why it is this form, or the first one that is left.
        body: A step; for JAX's loops the traced one, from its index, its elements of the inputs
            and the state to the next condition, the next state and the scan outputs.
        length: Steps of a scan.
        known: Values of the final state that are known, by position.
    """

    kind: Literal["unrolled", "scan", "masked scan", "while"]
    reason: str
    body: Callable[..., Any]
    length: int = 0
    known: Mapping[int, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """A loop that runs `step` at most `trip` times while `go` holds.

    A step takes its index, its elements of the inputs `xs`, and the state; it returns whether to go
    on, the next state, and elements of the scan outputs, of which the node names `n_scanned`. The
    `name` of the body is for messages.
    """

    step: Subgraph
    trip: Value
    go: Value
    state: list[Value]
    xs: list[Value]
    n_scanned: int
    name: str = ""

    @property
    def countable(self) -> bool:
        """Whether it is known how often the loop runs, if its steps do not end it."""
        return is_concrete([self.trip, self.go])

    def run(self) -> list[Value]:
        """Final state and scan outputs."""
        if self.countable and is_concrete([self.state, self.xs]):
            results = self.as_python()
            if results is not None:
                return results
        with budget().loop() as count:
            form = self.form()
            count(form.length)
        match form.kind:
            case "unrolled":
                return self.collect([*self.one_by_one()])
            case "scan":
                return self.scan(form)
            case "masked scan" | "while":
                return self.skip_or_stop(form)

    def as_python(self) -> list[Value] | None:
        """Final state and scan outputs, if every step is concrete."""
        steps = []
        for results in self.one_by_one():
            if not is_concrete(results):
                return None
            steps.append(results)
        return self.collect(steps)

    def form(self) -> Form:
        """The form in which the loop can run.

        Raises:
            StaticOperandError: There is none, as traced values decide shapes.
        """
        if self.countable and (self.trip <= 0 or not is_true(self.go)):
            return Form("unrolled", "it has no steps", self.step)
        try:
            body, go, n_scanned = self.traced_step()
            if self.countable and is_concrete(go) and is_true(go):
                if self.trip == math.inf:
                    raise ModelError("the loop never ends: it has no trip count, and no condition")
                return Form("scan", "no step ends it", body, self.trip)
            count, known = self.count() if self.countable else (None, {})
        except StaticOperandError as error:
            if not self.countable:
                raise
            return Form("unrolled", f"its steps differ: {error}", self.step)
        if count is not None:
            return Form("scan", "known values of its state end it", body, count, known)
        if n_scanned and not self.countable:
            raise StaticOperandError(UNCOUNTABLE)
        if n_scanned:
            return Form("unrolled", "steps that may end it have outputs", self.step)
        if is_concrete(self.trip) and self.trip <= SKIPPING_LIMIT:
            return Form("masked scan", "traced values may end it early", body, self.trip)
        return Form("while", "traced values end it, and it has no small bound", body)

    def one_by_one(self) -> Iterator[list[Value]]:
        """Whether to go on, the next state and the scan outputs of step after step.

        Raises:
            StaticOperandError: Whether there is a further step is traced.
        """
        go, state, i = self.go, self.state, 0
        while is_true(go) and i < self.trip:
            budget().count_call()  # a step may have no nodes
            go, *results = self.step(np.asarray(i), [x[i, ...] for x in self.xs], *state)
            yield [go, *results]
            if not is_concrete(go):
                raise StaticOperandError(UNCOUNTABLE)
            state, i = results[: len(state)], i + 1

    def collect(self, steps: Sequence[list[Value]]) -> list[Value]:
        """Final state and scan outputs of steps that were run one by one."""
        n = len(self.state)
        if steps:
            rows = [results[1 + n :] for results in steps]
            stacked = [xp(*ys).stack(ys) for ys in zip(*rows, strict=True)]
            return [*steps[-1][1 : 1 + n], *stacked]
        if not self.n_scanned:
            return self.state
        elements = [np.zeros(x.shape[1:], x.dtype) for x in self.xs]
        found: list[Value] = []  # there may be strings, which `eval_shape` cannot return
        jax.eval_shape(lambda: found.extend(self.step(np.asarray(0), elements, *self.state)))
        return self.state + [np.zeros((0, *y.shape), y.dtype) for y in found[1 + n :]]

    def traced_step(self) -> tuple[Callable[..., Any], Value, int]:
        """A step, traced once; whether it goes on, if that is known; how many scan outputs it has.

        Raises:
            StaticOperandError: A traced value decides a shape, or the state changes its shapes.
        """
        found: list[Value] = []

        def step(i: Value, x: list[Value], state: list[Value]) -> Any:
            go, *results = self.step(i, x, *state)
            new = as_carried(results[: len(state)])
            if signature(new) != signature(state):
                raise StaticOperandError(
                    f"{UNCOUNTABLE}: its values change from {signature(state)} to {signature(new)}"
                )
            found.append(go)
            return jnp.reshape(go, ()), new, as_carried(results[len(state) :])

        start = jnp.zeros((), np.int64), [x[0, ...] for x in self.xs], as_carried(self.state)
        jaxpr, shapes = jax.make_jaxpr(step, return_shape=True)(*start)
        tree = jax.tree.structure(shapes)

        def body(*args: Any) -> Any:
            return jax.tree.unflatten(tree, jaxpr_as_fun(jaxpr)(*jax.tree.leaves(args)))

        return body, found[0], len(shapes[2])

    def count(self) -> tuple[int | None, dict[int, Value]]:
        """How many steps known parts of the state, such as a counter, allow; and their last values.

        None if the condition depends on more, or there are more than 1024 steps.
        """
        count, go, state = 0, self.go, self.state
        while is_true(go) and count < self.trip:
            go, *state = self.known_step(count, state)
            count += 1
            if not is_known(go) or count > SKIPPING_LIMIT:
                return None, {}
        return count, {j: value for j, value in enumerate(state) if is_known(value)}

    def known_step(self, i: int, state: list[Value]) -> list[Value]:
        """A step's condition and next state as far as they are known, shapes where they are not."""
        found: list[Value] = []

        def step(traced: dict[int, Value]) -> list[Value]:
            values = (traced.get(j, value) for j, value in enumerate(state))
            go, *results = self.step(np.asarray(i), [x[i, ...] for x in self.xs], *values)
            found[:] = go, *results[: len(state)]
            return as_carried(found)

        shapes = jax.eval_shape(step, {j: v for j, v in enumerate(state) if not is_known(v)})
        return [a if is_known(a) else shape for a, shape in zip(found, shapes, strict=True)]

    def scan(self, form: Form) -> list[Value]:
        """A scan of as many steps as the form says."""

        def body(carry: tuple[Value, list[Value]], x: list[Value]) -> Any:
            i, state = carry
            _, new, ys = form.body(i, x, state)
            return (i + 1, new), ys

        start = (jnp.zeros((), np.int64), as_carried(self.state))
        (_, state), ys = lax.scan(body, start, self.xs, length=form.length)
        return [form.known.get(j, value) for j, value in enumerate([*state, *ys])]

    def skip_or_stop(self, form: Form) -> list[Value]:
        """A loop that ends when a traced condition says so, without scan outputs."""

        def body(carry: Any) -> Any:
            i, _, state = carry
            go, new, _ = form.body(i, [], state)
            return i + 1, go, new

        def goes_on(carry: Any) -> Value:
            i, go, _ = carry
            return go if self.trip is math.inf else go & (i < self.trip)

        def skip(carry: Any, _: None) -> Any:
            return lax.cond(goes_on(carry), body, lambda same: same, carry), None

        start = (jnp.zeros((), np.int64), jnp.reshape(self.go, ()), as_carried(self.state))
        if form.kind == "masked scan":
            return list(lax.scan(skip, start, length=form.length)[0][2])
        reason = NO_GRADIENT.format(self.name)
        return [
            jax.tree.map(lambda x: forward_only(x, reason=reason) if is_floating(x) else x, value)
            for value in lax.while_loop(goes_on, body, start)[2]
        ]


@op("Loop", since=(1, 11, 13, 16, 19, 21, 23, 24, 25), controls=2)
def loop(
    M: Value | None = None,
    cond: Value | None = None,
    *v_initial: Value,
    body: Subgraph,
    n_outputs: int = 0,
    carry: Sequence[Value] = (),
) -> tuple[Value, ...]:
    """Final values of `v_initial`, then the scan outputs, of at most M steps while `cond` holds.

    A traced `cond`, given or computed, leaves no scan outputs possible. A loop with a traced trip
    count, or of more than 1024 steps that may end early, has forward derivatives only.
    """
    n = len(v_initial)

    def step(i: Value, _: list[Value], *state: Value) -> Sequence[Value]:
        (go, *results), carried = carrying(body, state[n:], i, TRUE, *state[:n], step=i)
        return (TRUE if cond is None else go, *results[:n], *carried, *results[n:])

    trip = math.inf if M is None else np.asarray(M).item() if is_concrete(M) else M.reshape(())
    go = TRUE if cond is None else cond
    state = [*v_initial, *carry]
    results = Steps(step, trip, go, state, [], n_outputs - n, body.__name__).run()
    return (*results[:n], *results[len(state) :], *results[n : len(state)])


@op("Scan", since=(9, 11, 16, 19, 21, 23, 24, 25))
def scan(
    *initial_state_and_scan_inputs: Value,
    body: Subgraph,
    num_scan_inputs: int,
    scan_input_axes: tuple[int, ...] | None = None,
    scan_input_directions: tuple[int, ...] | None = None,
    scan_output_axes: tuple[int, ...] | None = None,
    scan_output_directions: tuple[int, ...] | None = None,
    n_outputs: int = 0,
    carry: Sequence[Value] = (),
) -> tuple[Value, ...]:
    """Final state, then the scan outputs, of a loop over slices of the last `num_scan_inputs`."""
    n = len(initial_state_and_scan_inputs) - num_scan_inputs
    state, inputs = initial_state_and_scan_inputs[:n], initial_state_and_scan_inputs[n:]

    def along(values: Sequence[Value], axes: Any, directions: Any, move: Any) -> list[Value]:
        axes, directions = axes or [0] * len(values), directions or [0] * len(values)
        return [
            move(v, axis, direction)
            for v, axis, direction in zip(values, axes, directions, strict=True)
        ]

    def to_front(x: Value, axis: int, direction: int) -> Value:
        x = xp(x).moveaxis(x, axis, 0)
        return x[::-1] if direction else x

    def to_axis(y: Value, axis: int, direction: int) -> Value:
        return xp(y).moveaxis(y[::-1] if direction else y, 0, axis)

    xs = along(inputs, scan_input_axes, scan_input_directions, to_front)

    def step(i: Value, x: list[Value], *values: Value) -> Sequence[Value]:
        results, carried = carrying(body, values[n:], *values[:n], *x, step=i)
        return (TRUE, *results[:n], *carried, *results[n:])

    every = [*state, *carry]
    results = Steps(step, len(xs[0]), TRUE, every, xs, n_outputs - n).run()
    ys = along(results[len(every) :], scan_output_axes, scan_output_directions, to_axis)
    return (*results[:n], *ys, *results[n : len(every)])


@op("Scan", since=(8,))
def scan_8(
    sequence_lens: Value | None = None,
    *initial_state_and_scan_inputs: Value,
    body: Subgraph,
    directions: tuple[int, ...] | None = None,
    num_scan_inputs: int,
    n_outputs: int = 0,
) -> tuple[Value, ...]:
    """`scan` of each element of a batch, over its second axis.

    A sequence's state stands still from its end on, and its scan outputs there are zero.
    """
    values = initial_state_and_scan_inputs
    n, steps = len(values) - num_scan_inputs, values[-1].shape[1]
    if sequence_lens is None:
        sequence_lens = np.full(values[-1].shape[:1], steps)
    t = np.arange(steps)

    def run(length: Value, *values: Value) -> list[Value]:
        backward = xp(length).where(t < length, length - 1 - t, t)
        xs = [
            x[backward] if reverse else x
            for x, reverse in zip(values[n:], directions or [0] * num_scan_inputs, strict=True)
        ]

        def step(i: Value, x: list[Value], *state: Value) -> Sequence[Value]:
            results = body(*state, *x, step=i)
            rest = [*state, *map(nothing_like, results[n:])]
            now = i < length
            kept = (xp(now, a, b).where(now, a, b) for a, b in zip(results, rest, strict=True))
            return (TRUE, *kept)

        return Steps(step, steps, TRUE, list(values[:n]), xs, n_outputs - n).run()

    if any(value.dtype == STRING for value in values):
        if not is_concrete(sequence_lens):
            raise StaticOperandError("strings cannot depend on traced control flow")
        rows = [run(*one) for one in zip(np.asarray(sequence_lens), *values, strict=True)]
        return tuple(xp(*ys).stack(ys) for ys in zip(*rows, strict=True))
    return tuple(jax.vmap(run)(jnp.asarray(sequence_lens), *map(jnp.asarray, values)))
