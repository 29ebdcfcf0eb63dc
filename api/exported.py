"""Files of exported programs: what `jax.export` writes, and then the names of what goes in and out.

JAX reads such a file without onnxla, and sees nothing of what follows its own bytes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from onnxla.arguments import MODULE, check_arguments
from onnxla.exported_shapes import check_shapes
from onnxla.inputs import same_kind, unpack
from onnxla.ir.claims import claim
from onnxla.ir.errors import ModelError, describe
from onnxla.ir.names import listed, no_such, plain, quoted, shortened

MAGIC = b"\nonnxla export 1\n"  # stands at the end of a file
HASH = 32  # bytes before it: of all that is before them
LENGTH = 8  # bytes before those, which say how many the names have


@dataclass(frozen=True)
class Signature:
    """What an exported program takes and makes, which its file states in JSON.

    Attributes:
        inputs: Names of the inputs, in order.
        outputs: Names of the outputs, in order.
        constraints: What holds for the symbols among its sizes.
        params: Whether the parameters are its first argument.
        key: Whether the data of a key for random numbers is its last one.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    params: bool = False
    key: bool = False


class WithGradient(jax.export.Exported):
    """A program of JAX that says what to do where it has no gradient."""

    @classmethod
    def of(cls, program: jax.export.Exported) -> WithGradient:
        """A program of JAX as one of these."""
        return cls(**{each.name: getattr(program, each.name) for each in fields(program)})

    def vjp(self) -> jax.export.Exported:
        """The program of its gradient. Raises: ValueError if it was exported without one."""
        if not self.has_vjp():
            raise ValueError(
                "this program was exported without this gradient: export the model with"
                " vjp_order=1, or 2 for the gradient of a gradient"
            )
        return WithGradient.of(super().vjp())


class Exported:
    """An exported program as a function of its inputs: compiled once for each of their shapes.

    It has gradients if it was exported with a `vjp_order`.

    For example:

        module.export_stablehlo("model.stablehlo")
        program = onnxla.load_exported("model.stablehlo")
        print(program.inputs)
        y = program.run({"x": x})["y"]

    Attributes:
        program: The program as `jax.export` has it.
        input_names: Names of the inputs, in order.
        output_names: Names of the outputs, in order.
        inputs: Shape and dtype of each input, by name; sizes may be symbols.
        outputs: Shape and dtype of each output, by name.
        params: Shape and dtype of each parameter by name, if they are an argument; else None.
        platforms: What it was lowered for.
        fitting: Shapes of inputs and parameters that were found to fit.
    """

    def __init__(self, program: jax.export.Exported, signature: Signature) -> None:
        self.program, self.signature = WithGradient.of(program), signature
        self.fitting: set[Hashable] = set()
        self.input_names, self.output_names = signature.inputs, signature.outputs
        self.platforms = program.platforms
        specs = [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in program.in_avals]
        given, _ = jax.tree.unflatten(program.in_tree, specs)
        self.params: dict[str, Any] | None = given[0] if signature.params else None
        named = given[int(signature.params)]
        self.inputs: dict[str, Any] = {name: named[name] for name in signature.inputs}
        made = [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in program.out_avals]
        results = jax.tree.unflatten(program.out_tree, made)
        self.outputs: dict[str, Any] = {name: results[name] for name in signature.outputs}

    @functools.cached_property
    def _compiled(self) -> Any:
        """The program, compiled once for each shape of its inputs."""
        return jax.jit(self.program.call)

    def __call__(
        self,
        *args: Any,
        params: Mapping[str, Any] | None = None,
        key: jax.Array | None = None,
        **kwargs: Any,
    ) -> Any:
        """The output, or a tuple of the outputs in order if there are several.

        Args:
            *args: Inputs in order, or one dict of them by name.
            params: The parameters by name, if the program takes them.
            key: A JAX key, if the program takes one.
            **kwargs: Inputs by name.

        Raises:
            TypeError: Something is missing, unknown or of another kind of dtype.
            ValueError: A shape is not as it was exported.
        """
        if len(args) == 1 and isinstance(args[0], Mapping):
            named = {**args[0], **kwargs}
        elif len(args) > len(self.input_names):
            names = listed(self.input_names, plain)
            raise TypeError(f"the program takes {names}, got {len(args)} values")
        else:
            named = {**dict(zip(self.input_names, args, strict=False)), **kwargs}
        return unpack(tuple(self.run(named, params=params, key=key).values()))

    def run(
        self,
        inputs: Mapping[str, Any],
        *,
        params: Mapping[str, Any] | None = None,
        key: jax.Array | None = None,
    ) -> dict[str, Any]:
        """Outputs by name for inputs by name; arguments and errors as for a call."""
        for what, given, taken in (
            ("params", params, self.signature.params),
            ("key", key, self.signature.key),
        ):
            if (given is not None) != taken:
                is_it = "is missing" if taken else "is no argument of"
                raise TypeError(f"{what} {is_it} this program, as it was exported")
        if not isinstance(inputs, Mapping):
            names = listed(self.input_names, plain)
            raise TypeError(f"run takes a dict of {names}, got {type(inputs).__name__}")
        check_arguments({"key": key}, MODULE)
        with jax.enable_x64(True):
            given = converted("input", inputs, self.inputs)
            own = converted("parameter", params or {}, self.params or {})
            self.check_shapes(given, own)
            arguments: list[Any] = [given] if self.params is None else [own, given]
            if key is not None:
                data, kind = key_data(key), self.program.in_avals[-1]
                if data.shape != kind.shape:
                    raise TypeError(f"key has numbers {list(kind.shape)}, got {list(data.shape)}")
                arguments.append(data)
            try:
                found = self._compiled(*arguments)
            except ValueError as error:  # in which JAX does not always say what it takes
                if used := re.search(r"exported for platforms .* used on '\('(\w+)", str(error)):
                    raise ValueError(
                        f"the program was exported for {listed(self.platforms, plain)}, and is used"
                        f" on {used[1]}: export the model with platforms= for that, too"
                    ) from error
                error.add_note(f"in {self}")
                raise
        return {name: found[name] for name in self.output_names}

    def check_shapes(self, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        """Raises: ValueError if shapes do not fit. Those that do are looked at once."""
        given, own = shapes_of(inputs), shapes_of(params)
        key = (*given.items(), *own.items())
        known = all(isinstance(size, int) for _, shape in key for size in shape)
        if key in self.fitting or not known:
            return
        check_shapes("input", given, shapes_of(self.inputs), self.signature.constraints)
        check_shapes("parameter", own, shapes_of(self.params or {}))
        self.fitting.add(key)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{plain(k)}: {v.dtype}{list(v.shape)}" for k, v in self.inputs.items())
        platforms = listed(self.platforms, plain)
        outputs, where = listed(self.output_names, plain), ", ".join(self.signature.constraints)
        where = f", where {where}" if where else ""
        return f"Exported({inputs}) -> ({outputs}), for {platforms}{where}"


def shapes_of(arrays: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Shapes by name."""
    return {name: array.shape for name, array in arrays.items()}


def key_data(key: jax.Array) -> jax.Array:
    """The numbers of a JAX key, which is how an exported program takes one; uint32 [2]."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(key) if typed else key


def converted(what: str, given: Mapping[str, Any], specs: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name as arrays of the dtypes that a program takes.

    Raises:
        TypeError: One is missing, unknown or of another kind of dtype.
    """
    if missing := [name for name in specs if name not in given]:
        raise TypeError(f"missing {what}s: {listed(missing, plain)}")
    found = {}
    for name, value in given.items():
        if name not in specs:
            raise TypeError(no_such(what, name, specs))
        try:
            array, kind = jnp.asarray(value), specs[name].dtype
        except (TypeError, ValueError) as error:
            said = f"{what} {quoted(name)} is no array of numbers: {value!r:.100}"
            raise TypeError(said) from error
        if array.dtype != kind and not same_kind(array.dtype, kind):
            raise TypeError(f"{what} {quoted(name)} takes {kind}, got {array.dtype}")
        found[name] = array.astype(kind)
    return found


def write_exported(
    path: str | os.PathLike[str], program: jax.export.Exported, signature: Signature, order: int
) -> None:
    """Writes a program with its names; beside the target, then renamed.

    Args:
        path: The file to write or replace.
        program: The program.
        signature: Its names.
        order: How many times it can be differentiated.
    """
    data, names = program.serialize(vjp_order=order), json.dumps(asdict(signature)).encode()
    contents = [bytes(data), names, len(names).to_bytes(LENGTH, "little")]
    with claim(Path(path)) as claimed:
        claimed.put(claimed.target, [*contents, digest(*contents), MAGIC])


def digest(*parts: bytes | memoryview) -> bytes:
    """A hash of some bytes, by which a file is known to be as it was written; 32 bytes."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.digest()


def load_exported(path: str | os.PathLike[str]) -> Exported:
    """An exported program from a file that `Module.export_stablehlo` wrote.

    A program is code, which runs what it says: load files of people you trust alone. What a file
    has lost or gained on its way is seen.

    For example:

        module.export_stablehlo("model.stablehlo")
        program = onnxla.load_exported("model.stablehlo")
        y = program(x)

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        ModelError: It is no such file, or damaged, or JAX is too old or too new for it.
    """
    data, name = memoryview(Path(path).read_bytes()), quoted(os.fspath(path))
    body, end = data[: -len(MAGIC) - HASH], data[-len(MAGIC) :]
    if end != MAGIC:
        raise ModelError(
            f"{name} is no file that export_stablehlo wrote, or its end is missing; what"
            " jax.export wrote by itself, jax.export.deserialize reads"
        )
    if digest(body) != data[len(body) : -len(MAGIC)]:
        raise ModelError(f"{name} is damaged: its bytes are not those that were written")
    start = len(body) - LENGTH - int.from_bytes(body[-LENGTH:], "little")
    try:
        about = json.loads(bytes(body[max(start, 0) : -LENGTH]))
        inputs, outputs, constraints = (
            tuple(about[name]) for name in ("inputs", "outputs", "constraints")
        )
        signature = Signature(inputs, outputs, constraints, about["params"], about["key"])
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{name} does not say what goes in and out") from error
    try:
        return Exported(jax.export.deserialize(bytearray(body[:start])), signature)
    except Exception as error:  # whatever JAX raises for what it cannot read
        reason = shortened(describe(error), 500)
        raise ModelError(
            f"JAX {jax.__version__} cannot read {name}: {reason}. Export it again with a version"
            " of JAX that is no newer"
        ) from error
