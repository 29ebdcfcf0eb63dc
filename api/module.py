"""`Module`: an ONNX model as a JAX function with its parameters."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from onnxla import ir
from onnxla.arguments import (
    DICT,
    EXPORT,
    GENERATE_ELSEWHERE,
    LOAD,
    MODULE,
    NOTHING,
    called_here,
    check_arguments,
)
from onnxla.cache import keep_programs
from onnxla.edit.adapter_files import load_adapters, save_adapters
from onnxla.edit.adapters import initial
from onnxla.edit.dropout import insert_dropout
from onnxla.edit.expansion import expand
from onnxla.edit.free_batch import free_batch
from onnxla.edit.heads import find_features, last_features, replace_head
from onnxla.edit.inference import inference_form
from onnxla.edit.lora import add_adapters, merge_adapters, select
from onnxla.edit.parting import join, part_merged, tie, untie
from onnxla.edit.peft_files import load_peft, save_peft
from onnxla.edit.quantization import mark_straight_through, quantization_aware, restore
from onnxla.edit.switchable import switched_values, with_switches
from onnxla.edit.upgrade import upgrade
from onnxla.edit.whole import mark_whole
from onnxla.graph_layers import GraphLayers
from onnxla.graph_values import GraphValues
from onnxla.inputs import bind, checked, unpack
from onnxla.interpret.program import Program
from onnxla.interpret.rules.precision import PRECISIONS, in_precision
from onnxla.interpret.rules.running_statistics import Training
from onnxla.ir.fingerprint import fingerprint
from onnxla.ir.names import as_names, listed, no_such, plain, quoted
from onnxla.ir.rewrite import cut, replace_tensors
from onnxla.ir.traverse import all_nodes
from onnxla.left_open import left_open
from onnxla.ops.limits import Limits
from onnxla.ops.missing import saved_for_one_processor
from onnxla.ops.normalize import Sample
from onnxla.ops.signatures import find_misfits
from onnxla.ops.transfer import on_device, on_mesh
from onnxla.ops.values import Value, as_known, is_concrete
from onnxla.parameters.copies import copies
from onnxla.parameters.devices import as_numpy, is_shared, put
from onnxla.parameters.evidence import is_of_pytorch
from onnxla.parameters.processes import is_first, together
from onnxla.parameters.roles import (
    analyze,
    find_parameters,
    named_constants,
    shared_parameters,
)
from onnxla.parameters.selection import chosen, kept_statistics, matching
from onnxla.parameters.sharding import Rules, shardings
from onnxla.public import find
from onnxla.summary import describe_type, summarize
from onnxla.tables import PAGE, Report, Table

FEW_NODES = 300  # whose layers a summary has
BATCHED = "batched: each input and output has a further axis, the first"
FORMS = {"onnxla": save_adapters, "peft": save_peft}  # of adapters, by who reads them


def load(
    source: Any,
    *,
    folder: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    matmul_precision: str | None = None,
    roll: bool | None = None,
    remat: bool = False,
    cache: bool | str | os.PathLike[str] = False,
    mesh: jax.sharding.Mesh | None = None,
    sharding: Rules = None,
) -> Module:
    """Loads an ONNX model.

    For example:

        module = onnxla.load("model.onnx")
        y = module(x)

    Args:
        source: A path, the file's bytes, a binary file object, anything with
            `SerializeToString()`, such as an `onnx.ModelProto`, or an `onnxla.ir.Model`. External
            data is looked for in the folder of a path.
        folder: Where external data is looked for instead.
        limits: How much memory and time the model's constants and attributes may ask for.
        matmul_precision: Precision of matrix products and convolutions, such as `"tensorfloat32"`,
            one of those of `jax.default_matmul_precision`. By default the one that is set there in
            a call; where none is, products are exact, also where that is slow: on GPU and TPU.
        roll: Whether blocks of nodes that repeat, as the layers of a network, are compiled once, as
            the body of a loop; by default where they are many, with `remat` everywhere.
        remat: Whether the gradient of such a loop keeps only what each block gets from the one
            before, and computes the rest again, as `jax.checkpoint` of the loop's body does. It
            takes the least memory; otherwise results of products are kept, too.
        cache: Whether compiled programs are kept on disk, so that the next process finds them; or
            the folder for them. JAX has one folder in a process: one that is set already is used as
            it is. Otherwise it is onnxla's in the user's cache folder, and what else JAX compiles
            is kept there, too. A cache is code: share none with people you do not trust.
        mesh: Devices that the parameters are put on, as by `Module.with_sharding`, but each reads
            its part of the file, and no device or process holds more than that.
        sharding: Where parameters are on the mesh, as the rules of `Module.with_sharding`.

    Raises:
        ModelError: The file is malformed, inconsistent or unsafe; the message lists what is wrong.
        UnsupportedError: ONNX Runtime saved it for one processor.
        ValueError: JAX has no such precision, or keeps programs in another folder.
        PermissionError: Others may write to the folder of the cache.
    """
    check_arguments(locals(), LOAD)
    if sharding is not None and mesh is None:
        raise ValueError("sharding says where on a mesh parameters are: pass mesh=, too")
    if cache is not False:
        keep_programs(cache)
    model = source if isinstance(source, ir.Model) else ir.read(source, folder=folder)
    limits = limits or Limits()
    ir.verify(model, limits.nodes)
    if reason := saved_for_one_processor(model):
        raise ir.UnsupportedError(reason)
    find_misfits(model).raise_any()
    roll = True if remat and roll is None else roll
    program = Program(
        model, limits=limits, matmul_precision=matmul_precision, roll=roll, remat=remat
    )
    parted = part_merged(model, program.analysis)
    if parted is not model:
        program = program.edited(model=parted)
    tensors, roles = program.parameters.params, program.parameters.roles
    if mesh is None:
        module = Module(to_device(tensors), program)
    else:
        with jax.enable_x64(True):
            module = Module(on_mesh(tensors, shardings(tensors, roles, mesh, sharding)), program)
    jax.block_until_ready(program.buffers)  # read now, so that calls do not need the file
    return module


def to_device(
    tensors: Mapping[str, ir.Tensor], dtype: np.dtype | None = None
) -> dict[str, jax.Array]:
    """Tensors as JAX arrays, in another precision if a `dtype` is given."""
    with jax.enable_x64(True):
        arrays = on_device(tensors.values())
        return {name: in_precision(next(arrays), dtype) for name in tensors}


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["program"]
)
class Module:
    """A model as a function of its inputs, and a pytree whose leaves are its parameters.

    For example:

        module = onnxla.load("model.onnx")
        shapes = jax.tree.map(np.shape, module.params)
        gradient = jax.grad(lambda m: m.apply(m.params, x).sum())(module)

    Attributes:
        params: Parameters by ONNX name: the floating-point constants that decide no shape.
        program: The model and what has been compiled of it, shared by modules that differ only in
            their parameters.
    """

    params: dict[str, jax.Array]
    program: Program

    def __init__(self, params: dict[str, jax.Array], program: Program) -> None:
        self.params = params
        self.program = program

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and copies take: arrays of numpy, which are of their width anywhere."""
        arrays = {
            name: as_numpy(value)
            for name, value in self.params.items()
            if isinstance(value, jax.Array) and is_concrete(value)
        }
        return {"params": {**self.params, **arrays}, "arrays": [*arrays], "program": self.program}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        with jax.enable_x64(True):  # as wide as they are, whatever JAX's setting
            arrays = {name: jnp.array(state["params"][name]) for name in state["arrays"]}
        self.params, self.program = {**state["params"], **arrays}, state["program"]

    @property
    def roles(self) -> Mapping[str, str]:
        """Role of each parameter, such as `weight`, `bias` or `constant`; see `partition`.

        For example:

            weights = [name for name, role in module.roles.items() if role == "weight"]
        """
        return self.program.parameters.roles

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that a call takes, in order.

        For example:

            y = module(**{module.input_names[0]: x})
        """
        return self.program.input_names

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order.

        For example:

            outputs = dict.fromkeys(module.output_names)
        """
        return self.program.output_names

    def __call__(self, *args: Value, key: jax.Array | None = None, **kwargs: Value) -> Any:
        """The outputs for inputs; compiled once per input shape.

        Inputs are given in order, by ONNX name, or as one dict of names, in which one may be called
        `key`: `module({"x": x, "key": k})`. Where the model's first input is itself a map, a dict
        is that input.

        For example:

            y = module(x)
            y = module(x=x)
            y = module({"x": x})

        Returns:
            The output, or a tuple of the outputs in graph order if there are several.

        Raises:
            TypeError, ValueError: An input is missing, unknown, or of another dtype or shape than
                the model states; or operands of a node do not fit, and a note names the node.
        """
        values, program, params = None, self.program, self.params
        if key is None:
            values = program.last(params, args, kwargs) or program.again(params, args, kwargs)
        else:
            check_arguments({"key": key}, MODULE)
        if values is None:
            values = program.call(params, bind(program, args, kwargs), key)
        return values[0] if len(values) == 1 else values

    def run(self, inputs: Mapping[str, Value], key: jax.Array | None = None) -> dict[str, Any]:
        """Outputs by name for inputs by name.

        For example:

            y = module.run({"x": x})["y"]
        """
        values, program, params = None, self.program, self.params
        if key is None and isinstance(inputs, Mapping):
            values = program.last(params, (), inputs) or program.again(params, (), inputs)
        if values is None:
            if not isinstance(inputs, Mapping):
                raise TypeError(
                    f"run takes a dict of inputs by name ({listed(self.input_names, plain)}), got "
                    f"{type(inputs).__name__}; module(x) takes them in order"
                )
            values = program.call(params, self.check_inputs(inputs), key)
        return dict(zip(self.output_names, values, strict=True))

    def apply(
        self,
        params: Mapping[str, Value],
        *args: Value,
        key: jax.Array | None = None,
        outputs: str | Sequence[str] | None = None,
        **kwargs: Value,
    ) -> Any:
        """The outputs as a pure function of parameters and inputs, for `jax.jit` and `jax.grad`.

        An input given as a numpy array is a known value: whatever is computed from it alone is
        computed while tracing, and it may decide shapes.

        For example:

            loss = lambda params: (module.apply(params, x) ** 2).mean()
            gradient = jax.grad(loss)(module.params)
            features = module.apply(module.params, x, outputs="features")

        Args:
            params: All parameters by name.
            *args: Inputs in order, or one dict of them by ONNX name.
            key: JAX key for operators that draw random numbers.
            outputs: Names of values to return instead of the graph's outputs; intermediate values
                may be among them.
            **kwargs: Inputs by ONNX name.

        Raises:
            StaticOperandError: The shape of some value depends on traced data. The message names
                the node, the operand and where it comes from.
        """
        require_params(params)
        check_arguments(locals(), MODULE)
        inputs = bind(self.program, args, kwargs)
        names = as_names(outputs)
        return unpack(self.program.evaluate(params, inputs, key=key, outputs=names))

    def apply_train(
        self,
        params: Mapping[str, Value],
        *args: Value,
        key: jax.Array | None = None,
        outputs: str | Sequence[str] | None = None,
        train: str | Sequence[str] | None = None,
        freeze_statistics: bool | str | Sequence[str] | None = None,
        **kwargs: Value,
    ) -> tuple[Any, dict[str, Value]]:
        """`apply` as in training: with the batch's statistics, and values dropped at random.

        Quantized numbers have gradients: see `quantization_aware`. They are held by floats, and an
        output that the model states to be of integers is converted; one that `outputs` names may
        have no such statement. So arithmetic on them that differs for integers, as Div, differs.

        BatchNormalization in inference form, as most files have it, trains too. One layer that
        several nodes apply, or the steps of a loop, updates its running statistics with one after
        the other. The elements of a `batched` module are one batch. Running variances are those of
        the populations, as ONNX says; of files that PyTorch wrote, unbiased, as PyTorch's are.

        For example:

            y, updates = module.apply_train(module.params, x, key=jax.random.key(0))
            params = {**module.params, **updates}

        Args:
            params: All parameters by name.
            *args: Inputs in order, or one dict of them by ONNX name.
            key: JAX key that decides what is dropped; needed if the model has a Dropout.
            outputs: As for `apply`.
            train: Names or patterns of the parameters that train, as for `partition`; by default
                all that do. A BatchNormalization of which neither scale nor bias is among them
                uses its running statistics, as in inference, and they have no next ones; so does
                one that learns neither, unless all train that do by default.
            freeze_statistics: Names or patterns of running statistics, or True for all: each
                BatchNormalization that has one of them uses them, too. False: none does, whatever
                trains.
            **kwargs: Inputs by ONNX name.

        Returns:
            The outputs, and the next running statistics by parameter name, for
            `{**params, **updates}` before the next step.
        """
        require_params(params)
        check_arguments(locals(), MODULE)
        patterns, outputs = as_names(train), as_names(outputs)
        trained = None if patterns is None else chosen(patterns, self.program.parameters)
        kept = kept_statistics(freeze_statistics, self.roles, trained)
        sample = Sample(unbiased=is_of_pytorch(self.program.model))
        training = Training({}, kept, sample)
        inputs = bind(self.program, args, kwargs)
        values = self.program.evaluate(params, inputs, key=key, outputs=outputs, training=training)
        return unpack(values), training.updates

    def stacked(
        self, params: Mapping[str, Value], outputs: str | Sequence[str] | None = None
    ) -> dict[str, Value]:
        """Parameters for `apply` in a loop of one's own, so that no step has to join any.

        Where blocks of nodes repeat (see `load`), those that correspond are one array, with the
        blocks along its first axis; `by_name` is the inverse. Each element is computed as it would
        be by itself, but an optimizer that looks at whole parameters sees others.

        For example:

            deep = onnxla.load("deep.onnx", roll=True)
            params = deep.stacked(deep.params)
            y = deep.apply(params, x)
            params = deep.by_name(params)

        Args:
            params: Parameters by name, all or some.
            outputs: As for `apply`, whose loops may depend on them.

        Warns:
            UserWarning: The graph has no loop whose parameters can be stacked.
        """
        check_arguments(locals(), MODULE)
        stacks = self.program.stacks(as_names(outputs))
        if not stacks.members:
            warnings.warn(
                "nothing is stacked: no blocks of nodes repeat in this graph, or not as often as"
                " pays; load(..., roll=True) makes loops of few, too",
                stacklevel=2,
            )
        kinds = {name: (value.shape, value.dtype) for name, value in params.items()}
        with jax.enable_x64(True):
            return dict(stacks.among(kinds).stacked({**params}))

    def by_name(
        self, params: Mapping[str, Value], outputs: str | Sequence[str] | None = None
    ) -> dict[str, Value]:
        """Parameters by name of those, or gradients, that `stacked` made; arguments as there.

        For example:

            deep = onnxla.load("deep.onnx", roll=True)
            stacked = deep.stacked(deep.params)
            gradient = jax.grad(lambda params: deep.apply(params, x).sum())(stacked)
            by_name = deep.by_name(gradient)

        Raises:
            ValueError: A stack has not one entry for each of its parameters.
        """
        check_arguments(locals(), MODULE)
        stacks = self.program.stacks(as_names(outputs))
        stacks.check(params)
        with jax.enable_x64(True):
            return dict(stacks.within(params).by_name({**params}))

    def replace(self, params: Mapping[str, Value]) -> Module:
        """The same model with other values for some or all of its parameters.

        For example:

            halved = module.replace({"head.w": module.params["head.w"] / 2})

        Raises:
            ValueError: A name is no parameter, or a value's shape is not that of the parameter.
        """
        check_arguments(locals(), MODULE)
        for name, value in params.items():
            if name not in self.params:
                raise ValueError(no_such("parameter", name, self.params))
            if np.shape(value) != self.params[name].shape:
                raise ValueError(
                    f"parameter {quoted(name)} has shape {self.params[name].shape},"
                    f" not {np.shape(value)}"
                )
        with jax.enable_x64(True):
            new = {name: jnp.asarray(value) for name, value in params.items()}
        return Module({**self.params, **new}, self.program)

    def partition(
        self, *patterns: str, roles: str | Sequence[str] | None = None
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The parameters in two: (to train, to freeze). `{**train, **frozen}` are all of them.

        For example:

            train, frozen = module.partition("head.*")
            loss = lambda train: module.apply({**train, **frozen}, x).sum()
            gradient = jax.grad(loss)(train)

        Args:
            *patterns: Names or shell-style patterns (`head.*`) of the parameters to train; without
                any, all whose role is one of `roles`. A pattern chooses among the roles too; a name
                that is spelled out is chosen whatever its role is, if no `roles` are given.
            roles: Roles to train; by default those of learned weights: weight, bias, scale and
                embedding. If the model has adapters (see `lora`): these, what trains beside them,
                and a new head.

        Raises:
            ValueError: A pattern matches no parameter, or none of these roles. Or, without roles,
                it matches both adapters and other parameters: an adapter's name begins with its
                weight's, so `encoder.*` would train both. `*.lora_?` are adapters alone.
        """
        check_arguments(locals(), MODULE)
        return self._split(chosen(patterns, self.program.parameters, roles))

    def freeze(
        self, *patterns: str, roles: str | Sequence[str] | None = None
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """`partition`, told what not to train: (to train, to freeze).

        For example:

            train, frozen = module.freeze("encoder.*")

        Args:
            *patterns: Names or patterns of parameters that stay as they are; without any, all whose
                role is one of `roles`.
            roles: Only freeze parameters in these roles, such as `["embedding"]`. What does not
                train by default is frozen in any case.

        Raises:
            ValueError: A pattern matches no parameter that trains, or none of these roles; or, as
                for `partition`, both adapters and others.
        """
        check_arguments(locals(), MODULE)
        given = patterns or roles is not None
        wanted = chosen(patterns, self.program.parameters, roles) if given else set()
        return self._split(self.program.parameters.trained - wanted)

    def _split(self, train: Collection[str]) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The parameters in two: those named, and the others; both in the order of the file."""
        named = {name: value for name, value in self.params.items() if name in train}
        return named, {k: v for k, v in self.params.items() if k not in named}

    def labels(self, groups: Mapping[str, str], default: str = "frozen") -> dict[str, str]:
        """A label for each parameter, for `optax.partition` (once called `multi_transform`).

        For example `{"head.*": "fast", "*": "slow"}`, with `optax.set_to_zero()` for `"frozen"`.

        For example:

            labels = module.labels({"head.*": "fast", "*": "slow"})
            steps = {"fast": optax.sgd(1e-2), "slow": optax.sgd(1e-4)}
            optimizer = optax.partition({**steps, "frozen": optax.set_to_zero()}, labels)

        Args:
            groups: Label by name or pattern; the first that chooses a parameter labels it. As for
                `partition`, a pattern chooses among learned weights.
            default: Label of the parameters that none chooses.

        Raises:
            ValueError: A pattern matches no parameter that trains; or, as for `partition`, both
                adapters and others that have no label yet.
        """
        check_arguments(locals(), MODULE)
        labels: dict[str, str] = {}
        for pattern, label in groups.items():
            names = chosen((pattern,), self.program.parameters, settled=labels)
            labels = {**dict.fromkeys(names, label), **labels}
        return {name: labels.get(name, default) for name in self.params}

    def specialize(self, inputs: Mapping[str, Value] | None = None, /, **further: Value) -> Module:
        """The model with some inputs, by ONNX name or as a dict, fixed to known values.

        They are then no longer inputs, and may decide shapes. `save` still writes the whole model.

        For example:

            sized = onnxla.load("sized.onnx")  # x, and the sizes of its reshaped form
            y = sized.specialize(sizes=np.array([4, -1]))(x)
        """
        (DICT | NOTHING).check("inputs", inputs)
        found = checked(self.program, {**(inputs or {}), **further})
        fixed = {name: as_known(value) for name, value in found.items()}
        return Module(self.params, self.program.edited(fixed={**self.program.fixed, **fixed}))

    def cut(
        self, inputs: str | Sequence[str] | None = None, outputs: str | Sequence[str] | None = None
    ) -> Module:
        """The part of the model between values of its graph, as a module that can be saved.

        `paste` puts back what was trained in it.

        For example:

            encoder = module.cut(outputs="features")
            head = module.cut(inputs="features")
            y = head(encoder(x))

        Args:
            inputs: Names of values that become inputs (default: the graph's own).
            outputs: Names of values that become outputs (default: the graph's own).
        """
        check_arguments(locals(), MODULE)
        part = cut(self.program.model, inputs, outputs)
        names = {value.name for value in part.graph.inputs}
        fixed = {name: value for name, value in self.program.fixed.items() if name in names}
        program = self.program.edited(model=part, fixed=fixed)
        whole = {tensor: name for name, tensor in self.program.parameters.params.items()}
        params = program.parameters.params
        # What is no parameter in the part, as an exponent, has its present value there.
        if stale := self._changed({*named_constants(part).values()}.difference(params.values())):
            program = program.edited(model=replace_tensors(part, stale))
        missing = {name: tensor for name, tensor in params.items() if tensor not in whole}
        new = to_device(missing, program.dtype)
        values = {k: new[k] if k in new else self.params[whole[t]] for k, t in params.items()}
        return Module(values, program)

    def paste(self, part: Module) -> Module:
        """The model with the parameters that a part of it has now: what `cut` made, and trained.

        They are found by name, running statistics too; all others stay. A warning names those that
        have changed in the part and are no parameters here, as what decides a shape: they keep
        their values.

        For example:

            head = module.cut(inputs="features")
            head = head.replace({"head.b": head.params["head.b"] + 1})
            module = module.paste(head)

        Raises:
            ValueError: The part has parameters that this model has nothing of, such as adapters
                that are not merged, or another shape of one.
        """
        require_module(part)
        whole = {tensor: name for name, tensor in self.program.parameters.params.items()}
        tensors = part.program.parameters.params
        names = {name: whole.get(tensors[name], name) for name in part.params}
        known = named_constants(self.program.model)
        if foreign := [name for name in names.values() if name not in known]:
            raise ValueError(
                f"the model has no {listed(foreign)}, which the part has: adapters are pasted after"
                " part.merge(), and a new head belongs to the part alone"
            )
        fixed = {name for name, here in names.items() if here not in self.params}
        changed = part._changed({tensors[name] for name in fixed})
        if lost := [name for name in fixed if tensors[name] in changed]:
            warnings.warn(
                f"{listed(lost)} was trained in the part, but is no parameter of the whole, where"
                " it decides a shape or is an exponent: it keeps its value",
                stacklevel=2,
            )
        return self.replace({names[k]: v for k, v in part.params.items() if k not in fixed})

    def with_model(self, model: ir.Model) -> Module:
        """An edited model with this module's parameters; those that are new are read from it.

        For example:

            model = module.to_ir()
            graph = dataclasses.replace(model.graph, name="other")
            module = module.with_model(dataclasses.replace(model, graph=graph))
        """
        ir.verify(model, self.program.limits.nodes)
        return self._with_program(self.program.edited(model=model))

    def _with_program(self, program: Program) -> Module:
        """Another program with this module's parameters; those that are new are its model's."""
        whole = {tensor: name for name, tensor in self.program.parameters.params.items()}
        tensors = program.parameters.params
        # A part may spell the name of a tensor of a subgraph otherwise.
        names = {name: whole.get(tensor, name) for name, tensor in tensors.items()}
        missing = {k: t for k, t in tensors.items() if names[k] not in self.params}
        new = to_device(missing, program.dtype)
        values = {k: new[k] if k in new else self.params[name] for k, name in names.items()}
        return Module(values, program)

    def lora(
        self,
        *patterns: str,
        rank: int = 8,
        alpha: float | None = None,
        also_train: str | Sequence[str] = (),
        key: jax.Array | None = None,
    ) -> Module:
        """The model with a trainable low-rank path beside some weights, and the same outputs.

        A path is two products of ONNX nodes, with the weight's rows and columns on the outside and
        `rank` numbers between them, times alpha / rank. Its factors `<weight>.lora_A` and
        `<weight>.lora_B` are parameters in the role `adapter`, which are what `partition` then
        trains by default, beside a new head (see `replace_head`), which gets no adapter. `merge`
        adds them to their weights, and so does `save`; beside a quantized weight they stay.

        Beside a product of integers (MatMulInteger, ConvInteger, QLinearConv, QLinearMatMul, QGemm,
        and ONNX Runtime's DynamicQuantizeMatMul and the like) the path computes in floating point,
        of what was quantized, and is added to what is dequantized, or before the result is rounded.
        Train such models with `apply_train` or `fit`: `apply` has no gradient through integers.
        A call of a model-local function that uses the weight is written out in place, and is a call
        again once the adapter is merged, unless the file was saved and loaded in between.

        For example:

            adapted = module.lora("encoder.*", rank=4, also_train="head.*")
            result = onnxla.fit(adapted, (x, labels), "cross_entropy")
            result.module.save("merged.onnx")

        Args:
            *patterns: Names or shell-style patterns of the weights, float or quantized, of MatMul,
                Gemm, Conv, Gather, MatMulNBits or products of integers, or of any operator that is
                linear in them (see `onnxla.op`), whose path computes the update as large as the
                weight. Weights may be kept as integers, and reach the node through a
                DequantizeLinear, or through Cast, Sub and Mul. Without any: all in the role
                `weight` that are larger than their path, and no embeddings.
            rank: Rank of the update; in a convolution, of each group.
            alpha: By default `rank`, so that the path is not scaled.
            also_train: Names or patterns of parameters that get no adapter but train as a whole,
                such as a head: by default, as adapters do, and `save_adapters` writes them too.
                This is kept in a file until all adapters are merged.
            key: JAX key that the first factor is drawn with; the second is zero.

        Raises:
            ValueError: A pattern matches no weight that can be adapted; the message says why. Or
                `also_train` matches what has an adapter, or is part of one.
            UnsupportedError: The model's opset is below 7, or below 10 where integers need it.
        """
        check_arguments(locals(), MODULE)
        also = (also_train,) if isinstance(also_train, str) else tuple(also_train)
        names = chosen(also, self.program.parameters) if also else set()
        model = expand(mark_whole(self.program.model, sorted(names)))
        weights = select(model, patterns, rank)
        # numpy draws: JAX would compile a program for each shape.
        rng = np.random.default_rng(key_numbers(key))
        scaled = float(rank if alpha is None else alpha)
        adapters = {name: initial(weight, rank, scaled, rng) for name, weight in weights.items()}
        return self.with_model(add_adapters(model, weights, adapters))

    def save_adapters(
        self,
        path: str | os.PathLike[str],
        *,
        form: Literal["onnxla", "peft", "onnxruntime"] = "onnxla",
    ) -> None:
        """Writes the adapters alone, and what trained as a whole beside them.

        Files are written beside their targets and renamed.

        For example:

            adapted = module.lora("encoder.*", rank=4)
            adapted.save_adapters("style.safetensors")

        Args:
            path: The file to write, or the folder.
            form: `onnxla`: safetensors, with the rank and alpha of each adapter, which
                `load_adapters` of the same model reads. `peft`: a folder as the library PEFT has
                it, which `load_adapters` reads too; a factor's name has its weight's, without a
                final `.weight`. `onnxruntime`: an `.onnx_adapter` for the file that
                `save(path, switchable=True)` writes. The first two need the package safetensors,
                the last one onnxruntime.

        Raises:
            ValueError: There are no adapters, or other parameters have changed too: then
                `save(path, merge=False)` writes all. Or PEFT has no adapters of such a weight, as
                of a grouped convolution.
            UnsupportedError: ONNX Runtime's writer does not take the adapters' type, as bfloat16.
        """
        check_arguments(locals(), MODULE)
        if is_shared(self.params):
            self._write_once(lambda own: own.save_adapters(path, form=form))
            return
        params = self.params if self.program.dtype is None else self.astype(None).params
        model = self.program.model
        if form == "onnxruntime":
            find("write_runtime_adapters")(switched_values(model, params), path)
        elif form in FORMS:
            FORMS[form](model, params, path)
        else:
            raise ValueError(no_such("form of adapters", form, [*FORMS, "onnxruntime"]))

    def load_adapters(self, path: str | os.PathLike[str]) -> Module:
        """The model with the adapters that `save_adapters` wrote for it: a file, or PEFT's folder.

        In a folder that PEFT wrote itself, names, dtypes and shapes alone tell that it belongs to
        this model.

        For example:

            module.lora("encoder.*", rank=4).save_adapters("style.safetensors")
            adapted = module.load_adapters("style.safetensors")

        Raises:
            ModelError: The file is malformed, or belongs to a model with other weights.
        """
        check_arguments(locals(), MODULE)
        read = load_peft if os.path.isdir(path) else load_adapters
        model, whole = read(self.program.model, path)
        return self.with_model(model).replace(to_device(whole, self.program.dtype))

    def merge(self) -> Module:
        """The model with its adapters added to the weights; those of quantized weights stay.

        For example:

            merged = module.lora("encoder.*", rank=4).merge()
        """
        program = self.with_model(merge_adapters(self._with_values())).program
        return Module(to_device(program.parameters.params, program.dtype), program)

    def quantization_aware(self) -> Module:
        """A quantized model with floating-point weights to train, and the same outputs.

        Each integer weight beside its scale gets a latent one in its place, a parameter, and a
        QuantizeLinear after it; so does each int32 bias that a DequantizeLinear reads. In
        `apply_train`, gradients pass straight through rounding and are zero where numbers saturate.
        `save` writes the file's own integer tensors and nodes again.

        Scales are parameters already, in a role that is not trained by default; ask for learned
        step sizes with `partition(roles=["weight", "bias", "quantization_scale"])`. They are small,
        so their learning rate must be, too.

        For example:

            small = onnxla.load("quantized.onnx").quantization_aware()
            result = onnxla.fit(small, (x, labels), "cross_entropy", learning_rate=1e-3)
            result.module.save("tuned.onnx")  # of integers again

        Raises:
            ValueError: There are no quantized weights, or none with a known scale beside them.
        """
        return self.with_model(quantization_aware(self._with_values()))

    def untie(self, *patterns: str) -> Module:
        """The model in which each layer has weights, scales and biases of its own.

        Exporters store equal tensors once, and layers that were equal by chance, as new ones and
        copies are, would train as one; `onnxla.check` names them. The first layer keeps the name,
        the others get one by the layer's. What was tied on purpose should not be parted, so an
        embedding and a product with it stay tied unless they are named.

        For example:

            parted = onnxla.load("shared.onnx").untie()

        Args:
            *patterns: Names or shell-style patterns of the tensors; without any: all.

        Raises:
            ValueError: A pattern matches no tensor that several layers read.
        """
        check_arguments(locals(), MODULE)
        model = self._with_values()
        names = {tensor: name for name, tensor in named_constants(model).items()}
        analysis = analyze(model)
        found = shared_parameters(find_parameters(model, analysis), analysis)
        shared = {names[each.tensor]: each for each in found}
        chosen_names = [name for name, each in shared.items() if not each.tied]
        if patterns:
            chosen_names = [n for p in patterns for n in matching(p, shared, "shared tensor")]
        return self.with_model(untie(model, [shared[name] for name in dict.fromkeys(chosen_names)]))

    def tie(self, *patterns: str) -> Module:
        """The model in which weights that an exporter copied are one again.

        Where a head is tied to an embedding, exporters may store it a second time, transposed, and
        the two would train apart; `onnxla.check` names such copies. The second one is then made
        from the first, by a Transpose, and is no parameter any more.

        For example:

            tied = onnxla.load("copied.onnx").tie()

        Args:
            *patterns: Names or shell-style patterns of the second ones; without any: all.

        Raises:
            ValueError: A pattern matches none, or there are none that hold the same numbers.
            UnsupportedError: One is in a subgraph or function.
        """
        check_arguments(locals(), MODULE)
        model = self._with_values()
        pairs = {second: first for first, second in copies(find_parameters(model))}
        if not pairs:
            raise ValueError("no two weights hold the same numbers: there is nothing to tie")
        chosen_names = [n for p in patterns or "*" for n in matching(p, pairs, "copied weight")]
        return self.with_model(tie(model, {name: pairs[name] for name in chosen_names}))

    def straight_through(self, *operators: str) -> Module:
        """The model in which some operators have the derivative 1 in `apply_train`.

        For fake quantization that a file spells out, as x / scale, Round, Clip, times scale.

        For example:

            module = onnxla.load("rounded.onnx").straight_through("Round")
            y, _ = module.apply_train(module.params, x)

        Args:
            *operators: Any of Ceil, Floor, Round and Sign, whose own derivative is 0.

        Raises:
            ValueError: Another operator is named, or one that the model does not have.
        """
        check_arguments(locals(), MODULE)
        return self.with_model(mark_straight_through(self.program.model, operators))

    def replace_head(
        self,
        features: str | None = None,
        classes: int | None = None,
        *,
        softmax: bool = False,
        name: str = "head",
        inputs: Mapping[str, Value] | None = None,
        key: jax.Array | None = None,
    ) -> Module:
        """The model up to a value, and a new linear layer of it as the only output.

        The layer has the parameters `<name>.weight`, normal with variance 1 / features, and
        `<name>.bias`, zero; the output is called `<name>.logits`. It is a Gemm node if the value
        has two axes, and otherwise a MatMul over the last axis and an Add. Its parameters say in
        their metadata that they are new: `lora` puts no adapter beside them, and they train too.

        For example:

            module = module.replace_head(classes=5)  # or replace_head("features", classes=5)

        Args:
            features: Name of a value [..., features] of the graph; by default the one that the
                last linear layer before the first output reads.
            classes: Size of the last axis of the output; needed.
            softmax: Whether a Softmax follows, to the output `<name>.probabilities`.
            name: What the names of the new values begin with.
            inputs: Example inputs by name, for a file that does not state the number of features.
            key: JAX key that the weight is drawn with.

        Raises:
            TypeError: `classes` is missing.
            ValueError: There is no such value, or it is no floating-point tensor; or that output
                comes from no linear layer, or from several; or something else that stays has the
                new head's name.
            UnsupportedError: The number of features cannot be found without `inputs`, or the
                model's opset is below 7.
        """
        check_arguments(locals(), MODULE)
        if classes is None:
            raise TypeError("replace_head needs the number of classes: replace_head(classes=5)")
        features = features or last_features(self.program.model)
        value = find_features(self.program, features, inputs)
        rng = np.random.default_rng(key_numbers(key))
        model = replace_head(self.program.model, value, classes, rng, softmax, name)
        new = {f"{name}.weight", f"{name}.bias"}  # an old head that goes may have had these names
        kept = {k: v for k, v in self.params.items() if k not in new}
        return Module(kept, self.program).with_model(model)

    def insert_dropout(self, after: str | Sequence[str], ratio: float = 0.5) -> Module:
        """The model with a Dropout after some floating-point values: the same but in `apply_train`.

        A value keeps its name and all that read it, also in subgraphs, read the dropped one; the
        one before is `<name>.before_dropout`. `save` writes the Dropout too: in ONNX Runtime it
        does nothing.

        For example:

            module = module.insert_dropout(after="features", ratio=0.2)
            y, _ = module.apply_train(module.params, x, key=jax.random.key(0))

        Args:
            after: Names or shell-style patterns of values that nodes of the main graph make.
            ratio: Share of the elements that become 0; the others are divided by 1 - ratio.

        Raises:
            ValueError: A pattern matches no value, or the ratio is not between 0 and 1.
        """
        check_arguments(locals(), MODULE)
        patterns = [after] if isinstance(after, str) else after
        return self.with_model(insert_dropout(self.program.model, patterns, ratio))

    def upgrade(self, opset: int | None = None) -> Module:
        """The model in a newer opset of the standard operators, with the same outputs.

        Nodes whose form has changed are written anew, those in subgraphs and functions too. Names
        of inputs, outputs and parameters, and roles, stay; so do other domains. The version of the
        file format becomes 4 if it is older: from then on, initializers are no inputs.

        For example:

            module = onnxla.load("old.onnx").upgrade()

        Args:
            opset: The version to upgrade to; by default 21, which ONNX Runtime reads from 1.18 on,
                or the model's if that is newer.

        Raises:
            ValueError: The model has a newer one, or `opset` is newer than what onnxla knows.
            UnsupportedError: Some nodes cannot be upgraded; the message says which and why.
        """
        check_arguments(locals(), MODULE)
        return self.with_model(upgrade(self.program, opset))

    def inference(self) -> Module:
        """The module in the form for inference, if its file has the form for training; or itself.

        Exporters can leave training switched on: a Dropout with a true `training_mode`, a
        BatchNormalization with `training_mode=1`, old forms without `is_test=1`. A call is then as
        the file says. In the form for inference nothing is dropped, running statistics are used,
        and where the next ones are read, they are those that there are. `apply_train` is the same
        in both forms. `evaluate`, `fit(validation=)` and `save(check=)` use this form; `save`
        writes the form that the module has, so `module.inference().save(path)` changes the file's.

        For example:

            y = onnxla.load("training.onnx").inference()(x)  # no key: nothing is dropped
        """
        program = self.program
        model = inference_form(program.model, program.analysis)
        return self if model is program.model else self.with_model(model)

    @called_here(GENERATE_ELSEWHERE)
    def generate(self, ids: Value, attention_mask: Value | None = None, **options: Any) -> Any:
        """The tokens that follow each prompt, [B, at most max_new_tokens], if this is a decoder.

        For options and errors see `onnxla.generate.Decoder`, which can say more of the cache, and
        of which this is the one that is made by default.

        For example:

            decoder = onnxla.load("decoder.onnx")
            tokens = decoder.generate([5, 17, 3], max_new_tokens=8)
        """
        return self._decoder.generate(ids, attention_mask, **options)

    def without_past(self) -> Module:
        """A decoder with a cache as a function of whole sequences, for training.

        Its inputs are tokens, their mask and positions, and what an encoder made; its output is the
        logits. `paste` puts what was trained into the module with the cache. For errors see
        `onnxla.generate.without_past`, which can be told what the cache is.

        For example:

            whole = onnxla.load("decoder.onnx").without_past()
            ids = np.array([[5, 17, 3, 9], [1, 2, 3, 4]])
            mask = np.ones_like(ids)
            inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": mask.cumsum(1) - 1}
            result = onnxla.fit(whole, (inputs, ids), "causal_lm")
        """
        module: Module = find("without_past")(self)
        return module

    @functools.cached_property
    def _decoder(self) -> Any:
        return find("Decoder")(self)

    def batched(self) -> Module:
        """The model mapped over a new leading axis of every input: for a model with batch 1.

        For example:

            ys = onnxla.load("single.onnx").batched()(x[:, None])  # of samples [1, 8] each
        """
        return Module(self.params, self.program.edited(batched=True))

    def free_batch(
        self, name: str = "batch", *, inputs: Mapping[str, int | None] | None = None
    ) -> Module:
        """The model for a batch of any size, if its file is for a batch of 1: as one with `vmap`.

        Constants that have the 1 in them, as the shapes of Reshape, a class token or the state
        before the first step, are computed from the batch; inputs and outputs state `name` for its
        size. Each node is compared on random values: of a batch it must make what it makes of the
        elements one by one. Names and values of parameters stay.

        For example:

            y = onnxla.load("single.onnx").free_batch()(x)

        Args:
            name: What the inputs and outputs call the size.
            inputs: The axis of the batch by input, None where there is none; by default the first
                axis of each input that has axes.

        Raises:
            ValueError: There is no such input or axis, or another size has this name.
            UnsupportedError: The batch is fixed to another size than 1, or it cannot be freed by
                writing other shapes: the message names all nodes that stand against it, with the
                reason. `batched` is that module all the same.
        """
        check_arguments(locals(), MODULE)
        return self.with_model(free_batch(self.program, name, inputs))

    def astype(self, dtype: Any) -> Module:
        """The same module with all floating-point values in `dtype`: float16, bfloat16 and wider.

        Parameters, constants, inputs, outputs and what nodes compute, whatever types nodes name;
        only quantized numbers, float8 and narrower stay, and what single operators round inside, as
        Resize its positions. Inputs are converted. `save` writes the file's own types, and bit for
        bit what did not change.

        A call, and `apply` in your own `jit`, are float64 under JAX's default setting, too. A loss,
        gradients and an optimizer's step are only within `with jax.enable_x64(True):`, since JAX
        computes them outside of the module; `fit` and `evaluate` see to that.

        For example:

            y = module.astype("bfloat16")(x)

        Args:
            dtype: The type, or None for the file's own.

        Raises:
            ValueError: It is none of these types.
        """
        wanted = None if dtype is None else dtype_named(dtype)
        if wanted is not None and wanted not in PRECISIONS:
            raise ValueError(f"a model is computed in {listed(PRECISIONS, str)}, not in {wanted}")
        if str(wanted) == str(self.program.dtype):  # for numpy, float64 == None
            return self
        program = self.program.edited(dtype=wanted)
        program = program.edited(fixed=checked(program, program.fixed))
        if wanted is None:
            return Module({}, program).with_model(self._with_values())
        with jax.enable_x64(True):
            return Module(in_precision(self.params, wanted), program)

    def autocast(self, dtype: Any = "bfloat16") -> Module:
        """The same module with matrix products and convolutions of float32 computed in `dtype`.

        Parameters, inputs, outputs and whatever else the graph computes stay in their dtypes, as do
        recurrent operators. `save` writes the model as it was.

        For example:

            y = module.autocast()(x)  # float32, of products in bfloat16
        """
        check_arguments(locals(), MODULE)
        return Module(self.params, self.program.edited(compute_dtype=dtype_named(dtype)))

    def with_sharding(self, mesh: jax.sharding.Mesh, rules: Rules = None) -> Module:
        """The same module with its parameters on the devices of a mesh.

        A call, `apply` and gradients then run on all of these. Inputs are to be on the mesh too,
        the batch split: `jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))`. Outputs
        are split as the inputs that they grow with. `save` writes the file as ever.

        For example:

            mesh = jax.make_mesh((jax.device_count(),), ("data",))
            module = module.with_sharding(mesh, "fsdp")

        Args:
            mesh: The devices, as `jax.make_mesh((4,), ("data",))`; axes explicit or automatic.
            rules: Specs by name, pattern or role, as `{"weight": PartitionSpec(None, "model")}`:
                the first that chooses a parameter counts, and without one it is on every device.
                Or "fsdp": each parameter of at least 4,096 elements is split over the axis "data",
                or the first, along the longest of its axes that can be.

        Raises:
            TypeError: A rule is no `PartitionSpec`.
            ValueError: A pattern matches no parameter, or a spec does not fit one.
        """
        check_arguments(locals(), MODULE)
        where = shardings(self.params, self.roles, mesh, rules)
        with jax.enable_x64(True):
            return Module({k: put(self.params[k], where[k]) for k in self.params}, self.program)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        merge: bool = True,
        switchable: bool = False,
        external_data: bool | str | None = None,
        batch: str | None = None,
        check: Any = False,
        tolerance: float = 1e-3,
    ) -> None:
        """Writes the model with the current parameters as ONNX.

        Only tensors that changed are changed, in the file's own element types; names, order,
        metadata, opsets and unknown fields stay. Files are written beside the target and renamed,
        so that a crash, a full disk or a failed check loses nothing. Where the parameters are on
        devices of several processes, all call this, and the first one writes. Of other files, those
        alone are removed that earlier saves to `path` made under names of their own and that no
        file in the folder names; a warning tells which other data of the old model stays.

        For example:

            module.save("copy.onnx", check=True)

        Args:
            path: The file to write or replace.
            merge: Whether adapters are added to their weights, as by `merge`.
            switchable: Whether adapters, and what trains as a whole beside them, become inputs with
                the present values as defaults, and stay. ONNX Runtime then takes others in each
                run, of any rank, from what `save_adapters(form="onnxruntime")` wrote; onnxla reads
                the defaults.
            external_data: Where the data of tensors goes. None: that of tensors which were external
                goes to one file beside `path`, named `<file name>.<token>.data`, with a random
                token; so does that of all large tensors if the model would be larger than 2 GiB.
                True: that of all large tensors does. A file name: as True, under that name, with a
                number if it is taken. False: all is in `path`.
            batch: `"dynamic"`: the file is for a batch of any size, as that of `free_batch`. None:
                as the module's.
            check: Whether the new file is run in ONNX Runtime before it replaces the old one, and
                its outputs are compared with the module's, both as in inference (see `inference`):
                True for random inputs, or inputs by name or in order. Needs the extra `compare`. A
                difference that ONNX Runtime's own graph optimizations make, or that a model has
                which is written as it was read, is a warning.
            tolerance: Difference that the check accepts, relative to an output's largest value;
                integers of 8 bits may differ by 1 in any case. Of random outputs dtypes and shapes
                are compared.

        Raises:
            OSError: The files cannot be written.
            OnnxlaError: The check failed, or the model cannot be written as asked for.
            ValueError: `batch` is another word.
        """
        check_arguments(locals(), MODULE)
        options: dict[str, Any] = {"merge": merge, "switchable": switchable, "check": check}
        options |= {"external_data": external_data, "tolerance": tolerance}
        if batch is not None:
            if batch != "dynamic":
                raise ValueError(f'batch is "dynamic" or None, not {batch!r}')
            self.free_batch().save(path, **options)
            return
        if is_shared(self.params):
            self._write_once(lambda own: own.save(path, **options))
            return
        model = self.to_ir(merge=merge, switchable=switchable)
        compares = check is not False and check is not None
        ir.save(
            model,
            path,
            external_data=external_data,
            check=(lambda new: find("check_saved_file")(self, model, new, check, tolerance))
            if compares
            else None,
        )

    def export_stablehlo(
        self,
        path: str | os.PathLike[str],
        *,
        platforms: str | Sequence[str] = ("cpu", "cuda", "tpu"),
        shapes: Mapping[str, int | str | Sequence[int | str]] | None = None,
        constraints: Sequence[str] = (),
        params: Literal["constants", "argument"] = "constants",
        key: jax.Array | Literal["argument"] | None = None,
        vjp_order: int = 0,
    ) -> None:
        """Writes the module as a program that JAX runs without onnxla, on several platforms.

        `onnxla.load_exported` reads the file, and `jax.export.deserialize` its bytes: then
        `call({"x": x})` takes a dict of inputs by name, and returns one of outputs. Sizes that the
        model leaves open are symbols, so that one program is for all of them.

        For example:

            module.export_stablehlo("model.stablehlo")
            y = onnxla.load_exported("model.stablehlo")(x)

        Args:
            path: The file to write or replace.
            platforms: What to lower for: "cpu", "cuda", "rocm", "tpu". None of them need be there.
            shapes: Sizes by their names, as `{"batch": 1}` or, in terms of other symbols,
                `{"height": "32*h"}`; and whole shapes by input, as `{"x": ["batch", 3]}`.
            constraints: What may be taken for granted of symbols, as `["samples >= 512"]`, and is
                checked in each call.
            params: Whether the parameters are constants in the program, or its first argument, by
                name: to have one program for several sets of them, or gradients by them.
            key: For a model that draws random numbers: a JAX key, with which it draws the same in
                each call; or "argument": the data of one, uint32 [2], is its last argument.
            vjp_order: How many times the program can be differentiated.

        Raises:
            ValueError: A name or an expression in `shapes`, or a platform, is unknown.
            UnsupportedError: A node needs to know a size that is a symbol: the message names it,
                and how to fix it; or the file would be larger than 2 GiB.
            StaticOperandError: A shape depends on data; see `specialize` and `cut`.
            OSError: The file cannot be written.
        """
        check_arguments(locals(), EXPORT)
        export = find("export_program")
        sizes = shapes or {}
        export(
            self.program, self.params, path, platforms, sizes, constraints, params, key, vjp_order
        )

    def _write_once(self, write: Callable[[Module], None]) -> None:
        """Writes in one process what has its parameters on the devices of several, which wait."""
        own: Any = {name: as_numpy(value) for name, value in self.params.items()}
        with together():
            if is_first():
                write(Module(own, self.program))

    def to_ir(self, *, merge: bool = True, switchable: bool = False) -> ir.Model:
        """The model as data, with the current parameters; for the arguments see `save`.

        For example:

            operators = {node.op_type for node in module.to_ir().graph.nodes}
        """
        model = self._with_values()
        if switchable:
            model = with_switches(model)
        elif merge:
            model = merge_adapters(model)
        return join(restore(model))

    def _with_values(self) -> ir.Model:
        """The model that is evaluated, with the current parameters."""
        changed = self._changed({*self.program.parameters.params.values()})
        return replace_tensors(self.program.model, changed)

    def _changed(self, tensors: Collection[ir.Tensor]) -> dict[ir.Tensor, ir.Tensor]:
        """Those of some parameters' tensors that differ now from what the file has, as they are."""
        changed = {}
        for name, tensor in self.program.parameters.params.items():
            if tensor not in tensors:
                continue
            value, old = as_numpy(self.params[name]), tensor.numpy()
            if is_same(value, old.astype(value.dtype, copy=False)):
                continue
            value = value.astype(tensor.dtype, copy=False)
            if not is_same(value, old):
                changed[tensor] = tensor.with_data(value)
        return changed

    def fingerprint(self) -> str:
        """A hash of the model: its opsets, nodes with attributes, and constants, as trained so far.

        Equal for modules that do the same with values of the same names, whatever their files call
        their nodes; but for `specialize`, `batched` and `autocast`, which it leaves out. An
        attribute that is written out is another one than its default.

        For example:

            assert module.fingerprint() == onnxla.load("model.onnx").fingerprint()
        """
        return fingerprint(self._with_values())

    def summary(self) -> Report:
        """Inputs, outputs, layers, operators, parameters by role: text, or HTML in a notebook.

        Layers of models of more than some hundred nodes are left to `layers`: it takes seconds.

        For example:

            print(module.summary())
        """
        program = self.program
        notes = [text for _, text in left_open(program.parameters, program.analysis)]
        if program.batched:
            notes.insert(0, BATCHED)
        found = summarize(program.model, program.parameters, program.fixed, notes)
        if sum(1 for _ in all_nodes(program.model)) > FEW_NODES:
            return found
        return Report([*found.parts, self.layers])

    @functools.cached_property  # a notebook completes names of these, and not of a `property`
    def layers(self) -> GraphLayers:
        """The nodes of the graph, as a table in which scopes and repeated blocks are folded.

        For example:

            module.layers("MatMul", "head.*")  # by name, operator, value or parameter
            module.layers[0].value  # the name of what it makes

        Each has `name`, `operator`, `value`, `inputs` (the values that it reads), `output` (dtype
        and shape), `parameters`, `elements` and `share` (of the operations in products). Shapes are
        for example inputs, where the model leaves sizes open.

        Raises:
            ValueError: A pattern matches no layer; the message has the nearest name.
            KeyError: There is no layer of a name.
        """
        found: GraphLayers = find("layers")(self)
        return found

    @functools.cached_property
    def values(self) -> GraphValues:
        """The values of the graph by name: inputs, outputs and what is between.

        For example:

            module.values("*Relu*")  # by name, or by the node that makes it
            module.values["features"]  # a notebook completes the name

        Each has `name`, `type`, `made_by` and `readers`. Names are for `apply(outputs=)`, `cut`,
        `replace_head` and `insert_dropout`.

        Raises:
            ValueError: A pattern matches no value; the message has the nearest name.
            KeyError: There is no value of a name.
        """
        found: GraphValues = find("values")(self)
        return found

    def draw(
        self,
        *,
        depth: int | None = None,
        overlay: Any = None,
        beside: Module | None = None,
        height: int = 640,
    ) -> Any:
        """The graph drawn: a notebook shows it, and `save("graph.html")` writes it; or .svg, .png.

        Scopes, blocks that repeat, functions and subgraphs are boxes that a click opens and folds;
        constants are part of the nodes that read them. A click on a node copies the name of the
        value that it makes, for `apply(outputs=)`, `cut` or `replace_head`; its panel has the names
        of parameters, for `partition` and `fit(train=)`. The page is one file that needs no
        network; a PNG needs the extra `draw`.

        For example:

            module.draw().save("graph.html")
            module.draw(beside=onnxla.load("model.onnx"))  # what changed

        Args:
            depth: How many boxes around a node are open at first; by default as many as leave about
                50 boxes to look at.
            overlay: Numbers that colour the nodes: `"parameters"`, `"flops"` (of products),
                `"bytes"` (read and written), `"sharding"`; what `onnxla.compare` returns: errors;
                or a dict of numbers by name of a node, value or parameter, as times or the norms
                of gradients. An array counts as its norm.
            beside: Another module, as the one before an edit or training: colours then tell what
                came, went and changed.
            height: Height in a notebook, in pixels.

        Raises:
            TypeError: `overlay` is of no kind that is known.
            ValueError: It is an unknown word, or names nothing in the model.
        """
        return find("draw")(self, depth=depth, overlay=overlay, beside=beside, height=height)

    def __repr__(self) -> str:
        inputs = listed(
            [f"{plain(v.name)}: {describe_type(v.type)}" for v in self.program.inputs], str
        )
        count = sum(np.size(value) for value in self.params.values())
        return (
            f"Module({inputs}) -> ({listed(self.output_names, plain)}), "
            f"{count:,} parameters in {len(self.params)} tensors"
            + (f"; {BATCHED}" if self.program.batched else "")
        )

    def _repr_html_(self) -> str:
        return Report([repr(self), *self.summary().parts, self._table()])._repr_html_()

    def _table(self) -> Table:
        """The parameters, one by one."""
        trained = self.program.parameters.trained
        rows = [
            (
                name,
                self.roles[name],
                f"{value.dtype}{list(value.shape)}",
                "trains" if name in trained else "",
            )
            for name, value in self.params.items()
        ]
        table = Table(f"parameters ({len(rows):,})", ("name", "role", "", ""), rows, folded=True)
        return table.shortened(*PAGE, "module.params and module.roles have all by name")

    def check_inputs(self, inputs: Mapping[str, Value]) -> dict[str, Value]:
        """Inputs by name in the model's dtypes. Raises: TypeError or ValueError if they differ.

        For example:

            inputs = module.check_inputs({"x": x.tolist()})  # as float32
        """
        return bind(self.program, (), inputs)


def require_module(module: Any) -> None:
    """Raises TypeError, with the way out, if something is no module."""
    if not isinstance(module, Module):
        raise TypeError(
            f"a Module is needed, as onnxla.load('model.onnx') makes; got {module!r:.100}"
        )


def require_params(params: Any) -> None:
    """Raises TypeError unless the first argument of a pure function is parameters by name."""
    if not isinstance(params, Mapping):
        raise TypeError(
            "the parameters come first, as in module.apply(module.params, x); "
            f"got {type(params).__name__}. module(x) uses the module's own"
        )


def dtype_named(dtype: Any) -> np.dtype:
    """A dtype. Raises: TypeError, with the nearest name, if there is none such."""
    try:
        found: np.dtype = jnp.dtype(dtype)
    except TypeError as error:
        names = (np.dtype(each).name for each in PRECISIONS)
        raise TypeError(no_such("dtype", dtype, names)) from error
    return found


def key_numbers(key: jax.Array | None) -> list[int]:
    """A JAX key as a seed of numpy's generator; of key 0 for None."""
    numbers: list[int] = jax.random.key_data(jax.random.key(0) if key is None else key).tolist()
    return numbers


def is_same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same bytes, which differ where 0.0 and -0.0 compare equal."""
    first, second = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b))
    return np.array_equal(first, second)
