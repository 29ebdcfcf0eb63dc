"""A module as a StableHLO program for several platforms, which JAX runs without onnxla."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.export

from onnxla.exported import Signature, key_data, write_exported
from onnxla.interpret.program import Program
from onnxla.ir.errors import OnnxlaError, UnsupportedError
from onnxla.ir.names import listed, no_such, shortened
from onnxla.ops.limits import bytes_of
from onnxla.ops.values import Value
from onnxla.parameters.devices import as_numpy
from onnxla.symbols import FUNCTIONS, Shapes, input_specs

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
LARGEST = 2**31 - 2**24  # bytes of constants, since a file of JAX has less than 2 GiB


def export_program(
    program: Program,
    params: Mapping[str, Value],
    path: str | os.PathLike[str],
    platforms: str | Sequence[str],
    shapes: Shapes,
    constraints: Sequence[str],
    params_as: Literal["constants", "argument"],
    key: jax.Array | Literal["argument"] | None,
    vjp_order: int,
) -> None:
    """Writes a program with its parameters; for the arguments see `Module.export_stablehlo`."""
    targets = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    for name in targets:
        if name not in PLATFORMS:
            raise ValueError(f"platforms: {no_such('platform', name, PLATFORMS)}")
    takes_params, takes_key = params_as == "argument", isinstance(key, str)
    names = program.input_names, program.output_names
    signature = Signature(*names, tuple(constraints), takes_params, takes_key)
    baked = [*program.buffers.values(), *(() if takes_params else params.values())]
    if (size := bytes_of(baked) * (1 + vjp_order)) > LARGEST:
        raise UnsupportedError(
            f"the constants would have {size:,} bytes in the file, and JAX writes files of less"
            ' than 2 GiB: params="argument" leaves the parameters out'
        )
    with jax.enable_x64(True):
        specs = input_specs(program, shapes, constraints)
        own = jax.device_put({name: as_numpy(value) for name, value in params.items()})

        def function(*arguments: Any) -> dict[str, Value]:
            given = [*arguments]
            used = given.pop(0) if takes_params else own
            drawn = jax.random.wrap_key_data(given.pop()) if isinstance(key, str) else key
            values = program.evaluate(used, given[0], key=drawn)
            return dict(zip(program.output_names, values, strict=True))

        kinds: list[Any] = [specs]
        if takes_params:
            kinds.insert(0, {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in own.items()})
        if takes_key:
            kinds.append(key_data(jax.random.key(0)))
        try:
            exported = jax.export.export(jax.jit(function), platforms=targets)(*kinds)
        except (OnnxlaError, TypeError, ValueError) as error:
            if advice := on_symbols(error, specs):
                raise UnsupportedError(advice) from error
            raise
        write_exported(path, exported, signature, vjp_order)


def on_symbols(error: Exception, specs: Mapping[str, jax.ShapeDtypeStruct]) -> str | None:
    """What an error says, and what to do, if it is about sizes that are symbols; else None."""
    said = str(error).partition("This error arises for")[0].strip(" .\n")
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("in ")]
    shapes = " ".join(str(spec.shape) for spec in specs.values())
    symbols = sorted(set(re.findall(r"[A-Za-z_]\w*", shapes)).difference(FUNCTIONS))
    # Notes have symbols in what they tell of operands, which need not be what is wrong.
    places = [said, *notes] if re.search("_DimExpr|Inconclusive", said) else [said]
    for place in places:
        if found := [name for name in symbols if re.search(rf"\b{name}\b", place)]:
            break
    else:
        return None
    if notes and not isinstance(error, OnnxlaError):  # which name the node themselves
        said += f" ({shortened(notes[0], 300)})"
    one = found[-1]
    return (
        f"{said}; here {listed(found, str)} stood for any size. Fix one, as"
        f' shapes={{"{one}": 64}}; or say more of it, as shapes={{"{one}": "32*n"}} or'
        f' constraints=["{one} >= 64"]; or give sizes that are equal one symbol, as in'
        f' shapes={{"{next(iter(specs))}": ["{one}", ...]}}'
    )
