"""A model prepared for evaluation: what goes in, what comes out, and how a call is compiled."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.interpret.calls import Context, Rule
from onnxla.interpret.eval import eval_graph
from onnxla.interpret.kept import Kept
from onnxla.interpret.layouts import Reordered, is_on_cpu, kernels
from onnxla.interpret.lowering import Lowering
from onnxla.interpret.placement import is_placed, placed
from onnxla.interpret.regions import Regions, trace_key
from onnxla.interpret.rolling.graph import HELD, JOINED, NEVER, Rolling
from onnxla.interpret.rolling.roll import Roll, join_values
from onnxla.interpret.rolling.stacks import NO_STACKS, Stacks, find_stacks
from onnxla.interpret.rules.budget import check_memory, check_program, within
from onnxla.interpret.rules.folding import fold
from onnxla.interpret.rules.matmul_precision import products_in
from onnxla.interpret.rules.mixed_precision import autocast
from onnxla.interpret.rules.padding import keep_padding
from onnxla.interpret.rules.precision import computed_in, dtype_in, in_precision, type_in
from onnxla.interpret.rules.running_statistics import (
    Training,
    carry_statistics,
    update_statistics,
)
from onnxla.interpret.rules.straight_through import see_through
from onnxla.interpret.short import Short, kinds, no_way, short_way
from onnxla.interpret.staging import Staging, advise, may_be_known
from onnxla.ir.errors import OnnxlaError, StaticOperandError, UnsupportedError
from onnxla.ir.model import (
    Function,
    FunctionId,
    Graph,
    MapType,
    Model,
    Node,
    OptionalType,
    SequenceType,
    SparseTensor,
    Tensor,
    TensorType,
    Type,
    ValueInfo,
)
from onnxla.ir.names import listed, quoted, shortened
from onnxla.ir.rewrite import cut
from onnxla.ops.cast import convert
from onnxla.ops.limits import (
    OF_CONSTANTS,
    OF_INPUTS,
    Budget,
    Limits,
    bytes_of,
)
from onnxla.ops.missing import missing_operators
from onnxla.ops.transfer import on_device
from onnxla.ops.values import (
    NOT_IN_JAX,
    Value,
    as_traced,
    has_no_type_in_jax,
    is_concrete,
    is_floating,
    is_known,
)
from onnxla.parameters.exactness import exact_inputs
from onnxla.parameters.lookups import Lookup, find_lookups
from onnxla.parameters.padding import Padding, find_padding
from onnxla.parameters.roles import Parameters, analyze, find_parameters
from onnxla.parameters.walk import Analysis


class Known:
    """Known inputs by name, hashable by their contents: a static argument of `jax.jit`."""

    def __init__(self, inputs: Mapping[str, Value]) -> None:
        self.inputs = inputs
        self.key = tuple((name, x.dtype, x.shape, x.tobytes()) for name, x in inputs.items())

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self.key == other.key


NOTHING_KNOWN = Known({})
MAPPED = "onnxla.batch"  # the axis that a batched program maps over


def has_no_array(kind: Type) -> bool:
    """Whether values of a type hold what JAX has no type for, such as strings, or a map."""
    if isinstance(kind, SequenceType | OptionalType):
        return has_no_array(kind.element)
    return isinstance(kind, MapType) or (isinstance(kind, TensorType) and kind.dtype in NOT_IN_JAX)


def as_declared(value: Value, kind: Type) -> Value:
    """A graph's output in its dtype: in training, floats may hold quantized numbers."""
    if not isinstance(kind, TensorType) or kind.dtype is None or not hasattr(value, "dtype"):
        return value
    return convert(value, kind.dtype) if is_floating(value) else value


def require_double(
    params: Mapping[str, Value],
    tensors: Mapping[str, Tensor],
    dtype: np.dtype | None,
    stacks: Stacks,
) -> None:
    """Raises TypeError if a parameter that is to be float64 is not."""
    for name, tensor in tensors.items():
        key, _ = stacks.places.get(name, (name, 0))
        if dtype_in(tensor.dtype, dtype) == np.float64 != params[key].dtype:
            raise TypeError(
                f"parameter {quoted(name)} is float64 and came as {params[key].dtype}: outside of"
                " `with jax.enable_x64(True):`, JAX makes float32 of what is computed from float64"
            )


@dataclass(eq=False)
class Program:
    """A model with some inputs fixed to known values, as a function of the others.

    Compared by identity: modules that share a program share what it has compiled.

    Attributes:
        model: The model.
        fixed: Inputs that are fixed, by name.
        batched: Whether inputs and outputs have one more leading axis, mapped over with `vmap`.
        static: Inputs that were found to decide a shape; a call is compiled for their values.
        data_dependent: Whether shapes were found to depend on other data, or strings or maps go in
            or out, so that calls run region by region.
        dtype: Dtype in which floating-point values are, if another than the file's.
        compute_dtype: Dtype of products of such values, or of float32 ones, if another.
        matmul_precision: JAX's precision of products, if not the caller's or the highest.
        roll: Whether repeated blocks become loops; None: as `Rolling` finds it worth it.
        remat: Whether the gradient of such a loop computes each block again, products too.
        recognize: Whether operators that the graph spells out are evaluated as such.
        limits: How much constants and attributes may decide.
    """

    model: Model
    fixed: Mapping[str, Value] = field(default_factory=dict)
    batched: bool = False
    static: frozenset[str] = frozenset()
    data_dependent: bool = False
    dtype: np.dtype | None = None
    compute_dtype: np.dtype | None = None
    matmul_precision: str | None = None
    roll: bool | None = None
    remat: bool = False
    recognize: bool = True
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        ends = (*self.inputs, *self.model.graph.outputs)
        self.data_dependent |= any(has_no_array(value.type) for value in ends)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone, to pickle or copy: what calls have made is made again."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def edited(self, **changes: Any) -> Program:
        """This program but for some fields; what calls have found out is forgotten."""
        forgotten: dict[str, Any] = {"static": frozenset(), "data_dependent": False}
        return replace(self, **{**forgotten, **changes})

    @functools.cached_property
    def parameters(self) -> Parameters:
        """The parameters of the model."""
        return find_parameters(self.model, self.analysis)

    @functools.cached_property
    def analysis(self) -> Analysis:
        """What the constant tensors of the model are used for."""
        return analyze(self.model)

    @functools.cached_property
    def padding(self) -> list[Padding]:
        """Where nodes read zeros that do not train."""
        return find_padding(self.analysis)

    @functools.cached_property
    def exact_inputs(self) -> dict[str, Node]:
        """Inputs of whose integers all bits count, with a node for which they do."""
        return exact_inputs(self.model, self.analysis)

    @functools.cached_property
    def lookups(self) -> dict[str, Lookup]:
        """Inputs that are looked up in tables of the file, and where."""
        return find_lookups(self.model.graph, self.model.opsets.get("", 1), self.analysis)

    @functools.cached_property
    def buffers(self) -> dict[str, jax.Array]:
        """Large constants that are no parameters, on the device."""
        # Kept, so no tracers of a caller's jit that may be the first to ask.
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            buffers = self.parameters.buffers
            return dict(zip(buffers, on_device(buffers.values()), strict=True))

    @functools.cached_property
    def names(self) -> dict[Any, str]:
        """Names of the tensors that are parameters or buffers."""
        both = {**self.parameters.params, **self.parameters.buffers}
        return {tensor: name for name, tensor in both.items()}

    @functools.cached_property
    def inputs(self) -> tuple[ValueInfo, ...]:
        """Inputs that a call must give: those without a default that are not fixed."""
        given = {t.name for t in self.model.graph.initializers} | set(self.fixed)
        return tuple(value for name, value in self.declared.items() if name not in given)

    @functools.cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of `inputs`."""
        return tuple(value.name for value in self.inputs)

    @functools.cached_property
    def declared(self) -> dict[str, ValueInfo]:
        """All inputs of the graph by name, those with a default or a fixed value among them.

        Those that decide a shape are not narrowed.
        """
        sizes = self.parameters.static_inputs
        return {
            value.name: replace(
                value, type=type_in(value.type, self.dtype, value.name not in sizes)
            )
            for value in self.model.graph.inputs
        }

    @functools.cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of the graph outputs."""
        return tuple(value.name for value in self.model.graph.outputs)

    def graph(self, outputs: tuple[str, ...] | None) -> Graph:
        """The graph without the nodes that nothing in `outputs` needs."""
        if outputs not in self._graphs:
            self._graphs[outputs] = cut(self.model, outputs=outputs).graph
        return self._graphs[outputs]

    @functools.cached_property
    def _graphs(self) -> dict[tuple[str, ...] | None, Graph]:
        return {}

    def stacks(self, outputs: tuple[str, ...] | None = None) -> Stacks:
        """The parameters that loops read as one array, if they come as such."""
        nodes = self.lowered(outputs, HELD).nodes
        return find_stacks(nodes, self.names, self.parameters.params.keys())

    def loops(self, outputs: tuple[str, ...] | None, stacks: Stacks) -> list[int]:
        """How many blocks each loop has, if parameters come in stacks or not."""
        nodes = self.lowered(outputs, HELD if stacks.members else JOINED).nodes
        return [len(node.blocks) for node in nodes if isinstance(node, Roll)]

    def held(self, params: Mapping[str, Value], outputs: tuple[str, ...] | None) -> Stacks:
        """The stacks among some parameters.

        Raises:
            TypeError: These are not all, or others.
            ValueError: A stack has not one entry for each of its parameters.
        """
        own = self.parameters.params
        if params.keys() == own.keys():
            return NO_STACKS
        stacks = self.stacks(outputs).within(params)
        names = {*own}.difference(stacks.places).union(stacks.members)
        if missing := sorted(names.difference(params)):
            raise TypeError(f"params lacks [{listed(missing)}]")
        if wrong := sorted(params.keys() - names):
            raise TypeError(f"no parameters [{listed(wrong)}]")
        stacks.check(params)
        return stacks

    def lowered(self, outputs: tuple[str, ...] | None, joined: int = JOINED) -> Graph:
        """`graph` as it goes to XLA; for `joined` see `Lowering`."""
        if (outputs, joined) not in self._lowered:
            self._lowered[outputs, joined] = self.lowering.graph(self.graph(outputs), joined)
        return self._lowered[outputs, joined]

    @functools.cached_property
    def kernels(self) -> list[str]:
        """Parameters that calls may store in another order."""
        return [*dict.fromkeys(kernels(self.model.graph.nodes, self.parameters.params))]

    @functools.cached_property
    def _lowered(self) -> dict[tuple[tuple[str, ...] | None, int], Graph]:
        return {}

    @functools.cached_property
    def lowering(self) -> Lowering:
        """How nodes go to XLA."""
        single = {padding.node for padding in self.padding}
        rolling = Rolling(self.model.opsets, self.functions, {*self.names}, single)
        return Lowering(rolling, self.roll, self.recognize)

    def evaluate(
        self,
        params: Mapping[str, Value],
        inputs: Mapping[str, Value],
        buffers: Mapping[str, Value] | None = None,
        *,
        key: jax.Array | None = None,
        outputs: Sequence[str] | None = None,
        training: Training | None = None,
    ) -> tuple[Value, ...]:
        """Values of `outputs`: pure, and traceable where no shape depends on traced data."""
        if is_placed((params, buffers, inputs, key)):
            return self._evaluate_placed(params, inputs, buffers, key, outputs, training)
        if self.batched:
            return self._evaluate_batched(params, inputs, buffers, key, outputs, training)
        wanted = None if outputs is None else tuple(outputs)
        stacks = self.held(params, wanted)
        graph = self.graph(wanted)
        buffers = self.buffers if buffers is None else buffers
        inputs = {**self.fixed, **inputs}
        with jax.enable_x64(True), self.explaining_errors():
            try:
                joined = HELD if stacks.members else JOINED
                context = self.context(params, buffers, key, training, inputs, stacks, joined)
                values = eval_graph(self.lowered(wanted, joined), inputs, context)
            except StaticOperandError as error:
                known = [name for name, value in inputs.items() if is_known(value)]
                plan = self.staging(key).plan(graph, inputs, known)
                error.args = (advise(error, inputs, params, graph, plan),)
                raise
            if training is not None:
                kinds = [type_in(value.type, self.dtype) for value in graph.outputs]
                values = tuple(map(as_declared, values, kinds))
            return self.returned(values)

    def context(
        self,
        params: Mapping[str, Value],
        buffers: Mapping[str, Value],
        key: jax.Array | None,
        training: Training | None = None,
        given: Mapping[str, Value] | None = None,
        stacks: Stacks = NO_STACKS,
        joined: int = JOINED,
    ) -> Context:
        """What nodes are evaluated in.

        Of some parameters `params` has the `stacks`; `joined` is as for `lowered`.

        In training, a statistic that is among the `given` inputs has its value from there, and is
        not updated.

        Raises:
            TypeError: A parameter that is float64 has come as a narrower type.
        """
        require_double(params, self.parameters.params, self.dtype, stacks)
        given = given or {}
        constants = {**buffers, **params}

        def read(tensor: Any) -> Value:
            if isinstance(tensor, tuple):
                stack = stacks.name_of(tuple(map(self.names.get, tensor)))
                return join_values([*map(read, tensor)]) if stack is None else constants[stack]
            name = self.names.get(tensor)
            if name in stacks.places:
                stack, index = stacks.places[name]
                return constants[stack][index]
            if name is not None:
                return constants[name]
            if isinstance(tensor, SparseTensor):
                budget.add(bytes_of(tensor))
            return in_precision(tensor.numpy(), self.dtype, narrows=False)

        budget = self.budget(given)
        rules: tuple[Rule, ...] = (products_in(self.matmul_precision), within(budget), fold)
        if training is not None:
            all_params = self.parameters.params.items()
            names = {tensor: None if name in given else name for name, tensor in all_params}
            update = update_statistics(names, params, training)
            rules = (update, carry_statistics(names, params), *rules, see_through)
            if self.padding:
                rules = (keep_padding(self.padding), *rules)
        wide = np.dtype(np.float32) if self.dtype is None else self.dtype
        if self.dtype is not None:
            rules = (*rules, computed_in(wide))
        if self.compute_dtype is not None:
            rules = (*rules, autocast(wide, self.compute_dtype))
        functions = self.lowering.functions_for(joined)
        context = Context(self.model.opsets, functions, read, rules, key=key, remat=self.remat)
        if training is None:
            return context
        return replace(context, analysis=self.analysis, updates=training.updates)

    def returned(self, values: Sequence[Value]) -> tuple[Value, ...]:
        """The outputs as a caller gets them."""
        return tuple(in_precision(as_traced(value), self.dtype) for value in values)

    def budget(self, inputs: Mapping[str, Value]) -> Budget:
        """What may be made of some inputs."""
        given = OF_CONSTANTS * self.size + OF_INPUTS * bytes_of([*inputs.values()])
        return Budget(self.limits, given)

    @functools.cached_property
    def size(self) -> int:
        """Bytes of the constants that are on the device: parameters and buffers."""
        return sum(bytes_of(tensor) for tensor in self.names)

    def staging(self, key: jax.Array | None = None) -> Staging:
        """The analysis of what must be known in calls with, or without, a key."""
        return Staging(self.model.opsets, self.functions, self.names, key is not None)

    @functools.cached_property
    def functions(self) -> dict[FunctionId, Function]:
        """Model-local functions by domain, name and overload."""
        return {function.key: function for function in self.model.functions}

    @contextlib.contextmanager
    def explaining_errors(self) -> Iterator[None]:
        """Adds all operators that are not supported to the error that one of them raises.

        What JAX or XLA raises for a program that cannot be compiled becomes an `OnnxlaError`.
        """
        try:
            yield
        except UnsupportedError as error:
            error.args = ("\n  ".join([str(error), *missing_operators(self.model)]),)
            raise
        except (OnnxlaError, TypeError, ValueError):  # which are documented
            raise
        except Exception as error:
            first, *_ = str(error).splitlines() or [""]
            reason = shortened(f"{type(error).__name__}: {first}", 1000)
            raise OnnxlaError(f"XLA could not compile or run the model: {reason}") from error

    def _evaluate_batched(
        self,
        params: Mapping[str, Value],
        inputs: Mapping[str, Value],
        buffers: Mapping[str, Value] | None,
        key: jax.Array | None,
        outputs: Sequence[str] | None,
        training: Training | None,
    ) -> tuple[Value, ...]:
        """`evaluate` of each element along the leading axis of the inputs: of one batch."""
        one = replace(self, batched=False)

        def evaluate(
            key: jax.Array | None, inputs: Mapping[str, Value]
        ) -> tuple[tuple[Value, ...], dict[str, Value]]:
            found: dict[str, Value] = {}
            mapped = training and training.mapped(found, MAPPED)
            values = one.evaluate(
                params, inputs, buffers, key=key, outputs=outputs, training=mapped
            )
            return values, found

        with jax.enable_x64(True):
            inputs = {name: as_traced(value) for name, value in inputs.items()}
            if key is not None:
                size = jax.tree.leaves(inputs)[0].shape[0]  # a symbol in an export
                key = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(size))
            mapped = jax.vmap(evaluate, out_axes=(0, None), axis_name=MAPPED)
            values, found = mapped(key, inputs)
            if training is not None:
                training.updates.update(found)
            return tuple(values)

    def _evaluate_placed(
        self,
        params: Mapping[str, Value],
        inputs: Mapping[str, Value],
        buffers: Mapping[str, Value] | None,
        key: jax.Array | None,
        outputs: Sequence[str] | None,
        training: Training | None,
    ) -> tuple[Value, ...]:
        """`evaluate` of operands that are sharded over explicit axes of a mesh."""

        def evaluate(constants: Any, inputs: Mapping[str, Value]) -> Any:
            found: dict[str, Value] = {}
            params, buffers, key = constants
            noted = training and replace(training, updates=found)
            values = self.evaluate(
                params, {**known, **inputs}, buffers, key=key, outputs=outputs, training=noted
            )
            return values, found

        known = {name: value for name, value in inputs.items() if is_known(value)}
        traced = {name: value for name, value in inputs.items() if name not in known}
        values, found = placed(evaluate, (params, buffers, key), traced)
        if training is not None:
            training.updates.update(found)
        return tuple(values)

    @functools.cached_property
    def programs(self) -> Kept[Any]:
        """Compiled programs by known inputs and by the shapes of the others."""
        return Kept(self.limits.programs)

    def compile(
        self,
        known: Known,
        params: Mapping[str, Value],
        traced: Mapping[str, Value],
        key: jax.Array | None,
    ) -> Any:
        """The model as a compiled function of params, buffers and inputs in order, and of a key.

        Raises:
            ModelError: It would need more memory than the limits allow.
        """

        def run(
            params: Mapping[str, Value], *values: Value, key: jax.Array | None = None
        ) -> tuple[Value, ...]:
            buffers = dict(zip(self.buffers, values, strict=False))
            inputs = dict(zip(names, values[len(buffers) :], strict=True))
            outputs: tuple[Value, ...] = placed(
                evaluate, (stored.restored(params), buffers, key), inputs
            )
            return outputs

        def evaluate(constants: Any, inputs: Mapping[str, Value]) -> tuple[Value, ...]:
            params, buffers, key = constants
            inputs = {**known.inputs, **inputs}
            if self.batched:
                return self.evaluate(params, inputs, buffers, key=key)
            inputs = {**self.fixed, **inputs}
            context = self.context(params, buffers, key, given=inputs, joined=NEVER)
            results = eval_graph(self.lowered(None, joined=NEVER), inputs, context)
            if any(map(has_no_type_in_jax, jax.tree.leaves(results))):
                raise StaticOperandError("JAX has no text, so no program has it as an output")
            return self.returned(results)

        names = tuple(traced)
        program = jax.jit(run)
        stored = Reordered([name for name in self.kernels if is_on_cpu(params[name])])
        arguments = stored(params), *self.buffers.values(), *traced.values()
        made = program.trace(*arguments, **({} if key is None else {"key": key}))
        if is_concrete(jax.tree.leaves((arguments, key))):
            budget = self.budget({**self.fixed, **known.inputs, **traced})
            check_program(made.jaxpr.jaxpr, budget)
            # `program` finds this compilation again.
            check_memory(made.lower().compile().memory_analysis(), budget)
        return stored.first(program)

    @functools.cached_property
    def regions(self) -> Regions:
        """The graph as a function that runs region by region."""
        return Regions(self.graph(None), self.context, self._needs, self.limits.programs)

    def prepare(self, inputs: Mapping[str, Value], key: jax.Array | None) -> None:
        """Finds what must be known in a call with such inputs, before it is traced."""
        small = [name for name, value in inputs.items() if may_be_known(value)]
        given = {**self.fixed, **inputs}
        known = [name for name in given if name in self.fixed or name in self.static]
        candidates = () if self.data_dependent else small
        plan = self.staging(key).plan(self.graph(None), given, known, candidates)
        self.static |= plan.static.keys()
        self.data_dependent |= bool(plan.concrete)
        self._needs.update(plan.concrete)
        self._prepared.add(tuple(inputs))

    @functools.cached_property
    def _prepared(self) -> set[tuple[str, ...]]:
        return set()  # names of the inputs that calls had

    @functools.cached_property
    def _needs(self) -> set[Node]:
        return set()  # nodes that need concrete values

    @functools.cached_property
    def last(self) -> Short:
        """The short way of the call before, if that was like another."""
        return no_way

    def call(
        self,
        params: Mapping[str, Value],
        inputs: Mapping[str, Value],
        key: jax.Array | None = None,
    ) -> tuple[Value, ...]:
        """Outputs for `inputs`, compiled once for each combination of shapes and known inputs.

        Which inputs must be known is found before tracing. What turns out only then to decide a
        shape is known from then on. Where that is not enough, the graph runs region by region.
        """
        self.last = no_way
        with jax.enable_x64(True), self.explaining_errors():
            if tuple(inputs) not in self._prepared and self.has_regions(params, inputs):
                self.prepare(inputs, key)
            while not self.data_dependent:
                known, traced = self._split(inputs)
                try:
                    program = self.programs.get(
                        (known, tuple(traced), trace_key([*traced.values(), key])),
                        functools.partial(self.compile, known, params, traced, key),
                    )
                    keys = {} if key is None else {"key": key}
                    values = (*self.buffers.values(), *traced.values())
                    outputs: tuple[Value, ...] = program(params, *values, **keys)
                    return outputs
                except StaticOperandError as error:
                    if not self.has_regions(params, inputs):
                        break
                    found = {name for name in error.names if name in inputs}
                    small = all(may_be_known(inputs[name]) for name in found)
                    if found - self.static and found == set(error.names) and small:
                        self.static |= found
                    else:
                        self.data_dependent = True
            if not self.has_regions(params, inputs):
                return self.evaluate(params, inputs, key=key)  # raises, and says what to do
            known, traced = self._split(inputs)
            given = {**self.fixed, **known.inputs}
            values = self.regions((params, self.buffers), known, given, traced, key)
            return self.returned(values)

    def again(
        self, params: Mapping[str, Value], args: Sequence[Value], named: Mapping[str, Value]
    ) -> tuple[Value, ...] | None:
        """`call` for inputs as a call had before; None for others, and where calls need more.

        They are inputs as a caller gives them, in order, or as one dict, or by name, for which
        `last` is no way; afterwards it is. Where they are arrays of the names, dtypes and shapes
        that a program is kept for, which were checked and converted, they are as they have to be.
        """
        if len(args) == 1 and type(args[0]) is dict and not named:
            return self.last(params, (), args[0]) or self.again(params, (), args[0])
        names = (*self.input_names[: len(args)], *named)
        if names not in self._prepared or self.static or self.data_dependent:
            return None
        if (found := kinds([*args, *named.values()])) is None:
            return None
        program = self.programs.find((NOTHING_KNOWN, names, (*found, trace_key(None))))
        if program is None:
            return None
        buffers = [*self.buffers.values()]
        rows = {i: self.lookups[k].rows for i, k in enumerate(names) if k in self.lookups}
        self.last = short_way(program, buffers, args, named, self.explaining_errors, rows)
        outputs: tuple[Value, ...] | None = self.last(params, args, named)
        return outputs

    def has_regions(self, params: Mapping[str, Value], inputs: Mapping[str, Value]) -> bool:
        """Whether nodes can be evaluated between programs: on concrete values, one by one."""
        return not self.batched and is_concrete(jax.tree.leaves((params, inputs)))

    def _split(self, inputs: Mapping[str, Value]) -> tuple[Known, dict[str, Value]]:
        """Inputs that are known while a call is traced, and the others."""
        if not self.static:
            return NOTHING_KNOWN, dict(inputs)
        static = [k for k in inputs if k in self.static and is_concrete(inputs[k])]
        known = Known({k: np.asarray(inputs[k]) for k in static})
        return known, {k: v for k, v in inputs.items() if k not in static}
