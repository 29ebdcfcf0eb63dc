"""Adapters in a file of their own: safetensors, for the model file that they were trained on.

The file has the factors `<weight>.lora_A` and `<weight>.lora_B`, and in its metadata the number of
its format, as JSON the rank and alpha of each weight, and fingerprints of the model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.edit.adaptable import find_adaptable
from onnxla.edit.adapters import find_adapters, make_adapter
from onnxla.edit.applications import AdaptableWeight
from onnxla.edit.dropout import strip_dropout
from onnxla.edit.lora import add_adapters, strip_adapters
from onnxla.edit.views import DTYPES
from onnxla.ir.fingerprint import fingerprint
from onnxla.ir.names import quoted
from onnxla.ir.saving import replace_file
from onnxla.ir.tensors import encode_raw
from onnxla.parameters.roles import named_constants

# Format 1, of version 0.1.0, knows the model by its constants alone.
FORMATS = FORMAT_1, FORMAT_2 = "onnxla.lora.1", "onnxla.lora.2"


def base_of(model: ir.Model) -> ir.Model:
    """The model as it was before adapters, and Dropout to train them with, were put in."""
    return strip_dropout(strip_adapters(model, find_adapters(model)))


def hash_of_constants(model: ir.Model) -> str:
    """A hash of the names, dtypes, shapes and data of a model's constant tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named_constants(model).items()):
        data = tensor.numpy()
        digest.update(json.dumps([name, str(tensor.dtype), tensor.shape]).encode())
        # An array of strings holds addresses.
        digest.update(repr(data.tolist()).encode() if data.dtype == ir.STRING else encode_raw(data))
    return digest.hexdigest()


def save_adapters(model: ir.Model, params: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes the adapters of a model; see `Module.save_adapters`."""
    from safetensors.numpy import save

    adapters = find_adapters(model)
    if not adapters:
        raise ValueError("the model has no adapters; make some with lora()")
    kept = {tensor.name for adapter in adapters.values() for tensor in adapter.tensors}
    changed = [
        name
        for name, tensor in named_constants(model).items()
        if name in params and name not in kept and not is_unchanged(params[name], tensor)
    ]
    if changed:
        raise ValueError(
            f"other parameters have changed too ({', '.join(changed[:5])}), which a file of "
            "adapters does not hold; write the whole model: save(path, merge=False)"
        )
    tensors = {t.name: np.asarray(params[t.name]) for a in adapters.values() for t in (a.a, a.b)}
    base, described = base_of(model), {}
    for name, weight in find_adaptable(base).items():
        if name in adapters and isinstance(weight, AdaptableWeight):
            adapter, rank = adapters[name], weight.rank(adapters[name].a.shape)
            scale = 1.0 if adapter.scale is None else float(params[adapter.scale.name])
            described[name] = {"rank": rank, "alpha": scale * rank}
    metadata = {
        "format": FORMAT_2,
        "base": fingerprint(base),
        "constants": hash_of_constants(base),
        "adapters": json.dumps(described),
    }
    replace_file(Path(path), [save(tensors, metadata)])


def is_unchanged(value: Any, tensor: ir.Tensor) -> bool:
    """Whether a parameter has the value that the model's file gives it."""
    return np.asarray(value).astype(tensor.dtype).tobytes() == tensor.numpy().tobytes()


def load_adapters(model: ir.Model, path: str | os.PathLike[str]) -> ir.Model:
    """The model with the adapters of a file; see `Module.load_adapters`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            described = read_metadata(metadata)
            weights = find_described(model, described, file)
            require_base(base_of(model), metadata)
            adapters = {
                name: make_adapter(
                    weights[name],
                    *(file.get_tensor(f"{name}.lora_{part}") for part in "AB"),
                    scale=alpha / rank,
                )
                for name, (rank, alpha) in described.items()
            }
    except (SafetensorError, ir.ModelError) as error:
        raise ir.ModelError(f"cannot load the adapters '{os.fspath(path)}': {error}") from error
    return add_adapters(model, weights, adapters)


def read_metadata(metadata: Mapping[str, str]) -> dict[str, tuple[int, float]]:
    """Rank and alpha by weight, as a file's metadata state them."""
    if metadata.get("format") not in FORMATS:
        raise ir.ModelError(
            f"its format is {metadata.get('format')!r}; this version of onnxla reads "
            + " and ".join(FORMATS)
        )
    try:
        entries = json.loads(metadata["adapters"])
        return {n: (int(e["rank"]), float(e["alpha"])) for n, e in entries.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ir.ModelError(f"its metadata are malformed: {error!r}") from error


def require_base(base: ir.Model, metadata: Mapping[str, str]) -> None:
    """Raises ModelError unless a model is the one that adapters belong to."""
    first = metadata["format"] == FORMAT_1
    constants = metadata.get("base" if first else "constants")
    if not first and metadata.get("base") == fingerprint(base):
        return
    if constants != hash_of_constants(base):
        raise ir.ModelError(
            "they were trained beside other weights: the constants of this model are not "
            "those of the file that they belong to"
        )
    if not first:
        raise ir.ModelError(
            "they were trained in another model with the same weights: its opsets, nodes or their "
            "attributes are not those of this one"
        )


def find_described(
    model: ir.Model, described: Mapping[str, tuple[int, float]], file: Any
) -> dict[str, AdaptableWeight]:
    """The weights that a file adapts, by name, after its tensors were compared with them.

    Shapes and dtypes are compared before any data is read.
    """
    found = find_adaptable(model)
    taken = find_adapters(model)
    weights = {}
    expected: dict[str, str] = {}
    for name, (rank, alpha) in described.items():
        weight = found.get(name, "the model has no such constant")
        if name in taken:
            weight = "it has an adapter already"
        if isinstance(weight, str):
            raise ir.ModelError(f"they adapt {quoted(name)}, which cannot be: {weight}")
        if rank < 1 or not np.isfinite(alpha):
            raise ir.ModelError(f"{quoted(name)} has rank {rank} and alpha {alpha}")
        weights[name] = weight
        for part, shape in zip("AB", weight.factor_shapes(rank), strict=True):
            expected[f"{name}.lora_{part}"] = f"{DTYPES[weight.view.dtype.name]}{[*shape]}"
    if odd := sorted({*expected} ^ {*file.keys()}):
        raise ir.ModelError(f"the tensors that are missing or too many: {', '.join(odd[:5])}")
    for name, wanted in expected.items():
        entry = file.get_slice(name)
        actual = f"{entry.get_dtype()}{entry.get_shape()}"
        if actual != wanted:
            raise ir.ModelError(f"{quoted(name)} is {actual}, not {wanted}")
    return weights
