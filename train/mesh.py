"""Where a run's arrays are: on one device, or on a mesh of them.

Within a run the axes of the mesh are automatic: a step is written as for one device, its arguments
and results are placed, and XLA finds the rest. Its state is placed alike before and after each
step, so that a step is compiled once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from onnxla.interpret.rolling.stacks import Stacks
from onnxla.module import Module
from onnxla.ops.values import as_traced, is_opaque
from onnxla.parameters.devices import automatic, mesh_of, put
from onnxla.parameters.processes import differing
from onnxla.parameters.sharding import Rules, data_axis, shardings
from onnxla.train.batches import ArrayBatches, Batch, StreamedBatches
from onnxla.train.digests import digest_of

UNSET = Mesh(np.empty((), object), ())


class Placement:
    """Where a run's arrays are: wherever JAX has them, which is one device."""

    @property
    def everywhere(self) -> Any:
        """How a function's result is placed that all devices have; None: as it comes."""
        return None

    def with_stacks(self, stacks: Stacks) -> Placement:
        """The same, which knows parameters that are one array."""
        return self

    def in_force(self) -> contextlib.AbstractContextManager[Any]:
        """The context of what a run computes."""
        return contextlib.nullcontext()

    def module(self, module: Module) -> Module:
        """A module for the run."""
        return module

    def returned(self, module: Module) -> Module:
        """A module of the run, as its caller has it."""
        return module

    def of(self, tree: Any) -> Any:
        """How a tree is placed in whose dicts arrays stand by the names of parameters."""
        return None

    def put(self, tree: Any) -> Any:
        """Such a tree, placed."""
        return tree

    def begin(self, function: Callable[..., Any], *args: Any) -> Any:
        """Such a tree, made by a function, placed."""
        return function(*args)

    def take(self, value: Any) -> Any:
        """An input of the model as `batch` takes it."""
        return as_traced(value)

    def batch(
        self, batches: ArrayBatches | StreamedBatches, inputs: Any, targets: Any
    ) -> tuple[Any, Any]:
        """A batch of some data, placed."""
        return inputs, targets

    def step(self, step: Any, batches: ArrayBatches | StreamedBatches) -> Any:
        """A step that takes batches of some data as they are read."""
        return step

    def inputs(self, inputs: Mapping[str, Any], axes: Mapping[str, int]) -> Mapping[str, Any]:
        """Inputs of samples that all processes have, along the first axis or another, placed."""
        return inputs

    def note(self) -> str:
        """What a reader of the run's history should know."""
        return ""


ONE_DEVICE = Placement()


@dataclass(frozen=True)
class OnMesh(Placement):
    """Where a run's arrays are on a mesh.

    Attributes:
        mesh: The devices, with automatic axes.
        given: The mesh of the caller.
        specs: By parameter, how it is split.
        shapes: By parameter, its shape.
        undivided: The numbers of samples in batches that the devices do not divide.
    """

    mesh: Mesh
    given: Mesh
    specs: Mapping[str, PartitionSpec]
    shapes: Mapping[str, tuple[int, ...]]
    undivided: set[int] = field(default_factory=set)

    @property
    def everywhere(self) -> NamedSharding:
        """On every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def with_stacks(self, stacks: Stacks) -> OnMesh:
        """The same, which knows parameters that are one array. They are split alike."""
        first = {stack: members[0] for stack, members in stacks.members.items()}
        specs = {stack: self.specs[name] for stack, name in first.items()}
        shapes = {stack: self.shapes[name] for stack, name in first.items()}
        return replace(self, specs={**self.specs, **specs}, shapes={**self.shapes, **shapes})

    @property
    def devices(self) -> int:
        """Over how many devices batches are split."""
        return int(self.mesh.shape[data_axis(self.mesh)])

    def in_force(self) -> contextlib.AbstractContextManager[Any]:
        """The context of what a run computes: no mesh is set, and those of the arrays count."""
        return jax.set_mesh(UNSET)

    def module(self, module: Module) -> Module:
        """The module with its parameters on the mesh, where they may be already."""
        return self._on(self.mesh, module)

    def returned(self, module: Module) -> Module:
        """The module on the mesh of the caller."""
        return self._on(self.given, module)

    def _on(self, mesh: Mesh, module: Module) -> Module:
        """The module on one of the two meshes."""
        with jax.enable_x64(True):
            found = {
                name: put(value, NamedSharding(mesh, self.specs[name]))
                for name, value in module.params.items()
            }
        return Module(found, module.program)

    def of(self, tree: Any) -> Any:
        """By the last name on the way to it, an array is split as the parameter with this name.

        It has the parameter's shape, or axes before that: those of blocks that are one array, or of
        an optimizer that remembers several gradients. What is shaped otherwise is on every device.
        """
        return jax.tree_util.tree_map_with_path(self._sharding, tree)

    def _sharding(self, path: Any, leaf: Any) -> NamedSharding:
        """How an array is placed, by its path."""
        names = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
        name = names[-1] if names else ""
        own, shape = self.shapes.get(name), np.shape(leaf)
        if own is None or shape[max(len(shape) - len(own), 0) :] != own:
            return self.everywhere
        before = [None] * (len(shape) - len(own))
        return NamedSharding(self.mesh, PartitionSpec(*before, *self.specs[name]))

    def put(self, tree: Any) -> Any:
        """Such a tree, placed."""
        with jax.enable_x64(True):
            return jax.tree.map(put, tree, self.of(tree))

    def begin(self, function: Callable[..., Any], *args: Any) -> Any:
        """Such a tree, made in its place, so that no device has all of it."""
        made = jax.eval_shape(function, *args)
        return jax.jit(function, out_shardings=self.of(made))(*args)

    def take(self, value: Any) -> Any:
        """An input as it is: numpy goes to its devices at once."""
        return value

    def batch(
        self, batches: ArrayBatches | StreamedBatches, inputs: Any, targets: Any
    ) -> tuple[Any, Any]:
        """A batch, split along the axes of its samples.

        Of samples that can be read in any order each process has the batch, and sends its rows; of
        an iterable's batches each has its rows alone.
        """
        reading = batches.reading
        parts = isinstance(batches, StreamedBatches) and jax.process_count() > 1
        with jax.enable_x64(True):
            placed = {
                name: self.split(value, reading.batch_axis.get(name, 0), parts)
                for name, value in inputs.items()
            }
        # As `jax.jit` would take them: in 32 bits, unless JAX has 64 enabled.
        return placed, jax.tree_util.tree_map_with_path(
            lambda path, leaf: self.split(leaf, reading.axis_of(path), parts), targets
        )

    def step(self, step: Any, batches: ArrayBatches | StreamedBatches) -> Any:
        """A step that takes batches of some data as they are read."""

        def placed(state: Any, frozen: Any, number: Any, inputs: Any, targets: Any) -> Any:
            return step(state, frozen, number, *self.batch(batches, inputs, targets))

        return placed

    def inputs(self, inputs: Mapping[str, Any], axes: Mapping[str, int]) -> Mapping[str, Any]:
        """Inputs whose samples are along the first axis or another, split there."""
        with jax.enable_x64(True):
            return {name: self.split(value, axes.get(name, 0)) for name, value in inputs.items()}

    def split(self, value: Any, axis: int = 0, parts: bool = False) -> Any:
        """An array of a batch on the mesh.

        Args:
            value: The array.
            axis: That of the samples, over which it is split where the devices divide it.
            parts: Whether this process has its rows alone.

        Raises:
            ValueError: Its devices do not divide these.
        """
        if is_opaque(value) or isinstance(value, list | tuple):
            return as_traced(value)
        if not isinstance(value, jax.Array):
            value = np.asarray(value)
            value = value.astype(jax.dtypes.canonicalize_dtype(value.dtype), copy=False)
        if not -value.ndim <= axis < value.ndim:
            return put(value, self.everywhere)
        axis, name = axis % value.ndim, data_axis(self.mesh)
        split = NamedSharding(self.mesh, PartitionSpec(*[None] * axis, name))
        size = value.shape[axis]
        if parts:
            if size % (own := self.mesh.local_mesh.shape[name]):
                raise ValueError(
                    f"this process has {own} devices, which do not divide its {size} samples of a"
                    " batch: let each process give batches of a multiple of them, or pass arrays"
                    " or a dataset with a length, which all processes have"
                )
            return jax.make_array_from_process_local_data(split, np.asarray(value))
        if size % self.devices:
            self.undivided.add(size)
            return put(value, self.everywhere)
        return put(value, split)

    def note(self) -> str:
        """That batches were not split, if it is so."""
        if not self.undivided:
            return ""
        sizes = ", ".join(map(str, sorted(self.undivided)))
        return (
            f"batches of {sizes} samples are computed whole on each device, as {self.devices}"
            " devices do not divide them"
        )


def find_placement(module: Module, mesh: Mesh | None = None, sharding: Rules = None) -> Placement:
    """Where a run's arrays are to be.

    Args:
        module: The model, whose parameters may be on a mesh already.
        mesh: The mesh; by default that of the parameters.
        sharding: How parameters are split, as for `Module.with_sharding`; by default as they are,
            if they are on this mesh.

    Raises:
        ValueError: A rule does not fit, or there is no mesh, or it leaves a process out.
    """
    own = mesh_of(module.params)
    mesh = own if mesh is None else mesh
    if mesh is None:
        if sharding is not None:
            raise ValueError("sharding is about a mesh of devices: pass mesh=")
        return ONE_DEVICE
    require_all_processes(mesh)
    shapes = {name: np.shape(value) for name, value in module.params.items()}
    if mesh == own and sharding is None:
        found = {name: spec_of(value) for name, value in module.params.items()}
    else:
        every = shardings(module.params, module.roles, mesh, sharding)
        found = {name: each.spec for name, each in every.items()}
    return OnMesh(automatic(mesh), mesh, found, shapes)


def require_alike(batches: ArrayBatches | StreamedBatches, batch: Batch, **settings: Any) -> None:
    """Raises ValueError in all processes if they do not train the same.

    Args:
        batches: The data, which all have where its samples can be read in any order.
        batch: A batch of it.
        **settings: What `fit` was asked for.
    """
    if jax.process_count() == 1:
        return
    shown = (batches.length, digest_of(batch)) if isinstance(batches, ArrayBatches) else None
    if names := differing({"data": str(shown), "settings": str(settings)}):
        raise ValueError(
            f"the processes have different {' and '.join(names)}: all call fit alike. Arrays and"
            " datasets with a length are the same in all, and each sends its rows of a batch; an"
            " iterable of batches gives each process its rows alone"
        )


def spec_of(value: jax.Array) -> PartitionSpec:
    """How an array is split; one that is on no mesh is to be on every device."""
    where = value.sharding
    return where.spec if isinstance(where, NamedSharding) else PartitionSpec()


def require_all_processes(mesh: Mesh) -> None:
    """Raises ValueError if a process has no device in a mesh."""
    found = {device.process_index for device in mesh.devices.flat}
    if missing := sorted({*range(jax.process_count())} - found):
        raise ValueError(
            f"the mesh has no device of the processes {missing}: all train one model, on a mesh of"
            " jax.devices()"
        )
