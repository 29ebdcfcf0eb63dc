"""What trains as a whole in a model with adapters: new heads, and what was asked for.

Its tensors say so in their metadata, so that it is still known after saving and loading. What was
asked for is no longer marked once all adapters are merged; a head stays one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from onnxla import ir
from onnxla.edit.adapters import find_adapters
from onnxla.ir.names import quoted
from onnxla.ir.rewrite import replace_tensors
from onnxla.parameters.roles import ASKED, HEAD, TRAINS, named_constants


def find_whole(model: ir.Model) -> dict[str, ir.Tensor]:
    """The constant tensors that train as a whole, by name."""
    return {n: t for n, t in named_constants(model).items() if TRAINS in t.metadata}


def mark_whole(model: ir.Model, names: Collection[str]) -> ir.Model:
    """The model in which some constant tensors, too, train as a whole.

    Raises:
        ValueError: One has an adapter, or is part of one.
    """
    adapters = find_adapters(model)
    parts = {tensor.name for adapter in adapters.values() for tensor in adapter.tensors}
    for name in names:
        if name in adapters or name in parts:
            what = "has an adapter" if name in adapters else "is part of an adapter"
            raise ValueError(f"{quoted(name)} {what}, so it cannot train as a whole")
    tensors = named_constants(model)
    unmarked = [tensors[name] for name in names if TRAINS not in tensors[name].metadata]
    new = {t: replace(t, metadata={**t.metadata, TRAINS: ASKED}) for t in unmarked}
    return replace_tensors(model, new) if new else model


def unmark_whole(model: ir.Model, heads: bool = False) -> ir.Model:
    """The model in which only heads train as a whole, or, if these are meant too, nothing."""
    new = {
        tensor: replace(tensor, metadata={k: v for k, v in tensor.metadata.items() if k != TRAINS})
        for tensor in find_whole(model).values()
        if heads or tensor.metadata[TRAINS] != HEAD
    }
    return replace_tensors(model, new) if new else model
