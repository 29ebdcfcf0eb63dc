"""Adapters in a file of their own: safetensors, for the model file that they were trained on.

The file has the factors `<weight>.lora_A` and `<weight>.lora_B`, and in its metadata the number of
its format, as JSON the rank and alpha of each weight, and fingerprints of the model. What trained
as a whole beside them is in it, too, under its own name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.edit.adaptable import find_adaptable
from onnxla.edit.adapters import find_adapters, make_adapter
from onnxla.edit.applications import AdaptableWeight
from onnxla.edit.dropout import strip_dropout
from onnxla.edit.expansion import collapse, expand
from onnxla.edit.lora import add_adapters, strip_adapters
from onnxla.edit.views import DTYPES
from onnxla.edit.whole import find_whole, mark_whole, unmark_whole
from onnxla.ir.fingerprint import fingerprint
from onnxla.ir.names import listed, quoted
from onnxla.ir.rewrite import replace_tensors
from onnxla.ir.saving import replace_file
from onnxla.ir.tensors import encode_raw
from onnxla.parameters.roles import find_parameters, named_constants
from onnxla.parameters.statistics import STATISTIC

# Format 1, of version 0.1.0, knows the model by its constants alone. Only format 3 holds what
# trained as a whole; what does without is written in format 2.
FORMATS = FORMAT_1, FORMAT_2, FORMAT_3 = "onnxla.lora.1", "onnxla.lora.2", "onnxla.lora.3"


@dataclass(frozen=True)
class Trained:
    """What was trained in a model with adapters.

    Attributes:
        weights: The weights with adapters, by name.
        factors: The factors A and B beside each of them.
        alphas: What each update is scaled by, times its rank.
        whole: What trained as a whole, by name.
    """

    weights: Mapping[str, AdaptableWeight]
    factors: Mapping[str, tuple[np.ndarray, np.ndarray]]
    alphas: Mapping[str, float]
    whole: Mapping[str, np.ndarray]

    def rank(self, name: str) -> int:
        """The rank of a weight's update."""
        return self.weights[name].rank(self.factors[name][0].shape)

    def added_to(self, model: ir.Model) -> tuple[ir.Model, dict[str, ir.Tensor]]:
        """The model with these adapters, and the tensors of what trained as a whole.

        In the model these have the values that they were trained from.
        """
        scales = {name: alpha / self.rank(name) for name, alpha in self.alphas.items()}
        adapters = {
            name: make_adapter(weight, *self.factors[name], scale=scales[name])
            for name, weight in self.weights.items()
        }
        model = add_adapters(mark_whole(model, self.whole), self.weights, adapters)
        return model, {name: ir.Tensor.of(name, value) for name, value in self.whole.items()}


def base_of(model: ir.Model, whole: Collection[str] = ()) -> ir.Model:
    """The model as it was before adapters, and Dropout to train them with, were put in.

    What trained as a whole is zero, and not marked.
    """
    base = strip_dropout(strip_adapters(model, find_adapters(model)))
    base = collapse(unmark_whole(base, heads=True))
    tensors = named_constants(base)
    zeros = {t: t.with_data(np.zeros(t.shape, t.dtype)) for t in map(tensors.__getitem__, whole)}
    return replace_tensors(base, zeros)


def hash_of_constants(model: ir.Model) -> str:
    """A hash of the names, dtypes, shapes and data of a model's constant tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named_constants(model).items()):
        data = tensor.numpy()
        digest.update(json.dumps([name, str(tensor.dtype), tensor.shape]).encode())
        # An array of strings holds addresses.
        digest.update(repr(data.tolist()).encode() if data.dtype == ir.STRING else encode_raw(data))
    return digest.hexdigest()


def find_trained(model: ir.Model, params: Mapping[str, Any]) -> Trained:
    """What was trained in a model with adapters, for a file.

    Raises:
        ValueError: There are no adapters, one is beside what is no weight any more, or other
            parameters have changed.
    """
    adapters, whole = find_adapters(model), find_whole(model)
    if not adapters:
        raise ValueError("the model has no adapters; make some with lora()")
    kept = {tensor.name for adapter in adapters.values() for tensor in adapter.tensors}
    changed = [
        name
        for name, tensor in named_constants(model).items()
        if name in params
        and name not in kept
        and name not in whole
        and not is_unchanged(params[name], tensor)
    ]
    roles = find_parameters(model).roles if whole and changed else {}
    # Those of a layer that trains as a whole follow the batches.
    followed = [name for name in changed if roles.get(name) == STATISTIC]
    if changed := [name for name in changed if name not in followed]:
        raise ValueError(
            f"other parameters have changed too ({', '.join(changed[:5])}), which a file of "
            "adapters does not hold; write the whole model: save(path, merge=False). Or name them "
            "in lora(also_train=...)"
        )
    found = find_adaptable(expand(base_of(model)))
    weights = {n: w for n in adapters if isinstance(w := found.get(n), AdaptableWeight)}
    if lost := sorted(adapters.keys() - weights.keys()):
        raise ValueError(f"there are adapters of {listed(lost)}, which can no longer have any")
    scales = {
        n: 1.0 if a.scale is None else float(params[a.scale.name]) for n, a in adapters.items()
    }
    return Trained(
        weights,
        {
            n: (np.asarray(params[a.a.name]), np.asarray(params[a.b.name]))
            for n, a in adapters.items()
        },
        {n: scales[n] * weights[n].rank(a.a.shape) for n, a in adapters.items()},
        {name: np.asarray(params[name]) for name in (*whole, *followed) if name in params},
    )


def describe_base(model: ir.Model, whole: Collection[str]) -> dict[str, str]:
    """What tells whether adapters belong to a model."""
    base = base_of(model, whole)
    return {"base": fingerprint(base), "constants": hash_of_constants(base)}


def save_adapters(model: ir.Model, params: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes the adapters of a model; see `Module.save_adapters`."""
    from safetensors.numpy import save

    trained = find_trained(model, params)
    tensors = dict(trained.whole)
    for name, factors in trained.factors.items():
        tensors |= {f"{name}.lora_{part}": x for part, x in zip("AB", factors, strict=True)}
    described = {
        n: {"rank": trained.rank(n), "alpha": alpha} for n, alpha in trained.alphas.items()
    }
    metadata = {
        "format": FORMAT_3 if trained.whole else FORMAT_2,
        **describe_base(model, trained.whole),
        "adapters": json.dumps(described),
    }
    if trained.whole:
        metadata["whole"] = json.dumps([*trained.whole])
    replace_file(Path(path), [save(tensors, metadata)])


def is_unchanged(value: Any, tensor: ir.Tensor) -> bool:
    """Whether a parameter has the value that the model's file gives it."""
    return np.asarray(value).astype(tensor.dtype).tobytes() == tensor.numpy().tobytes()


def load_adapters(
    model: ir.Model, path: str | os.PathLike[str]
) -> tuple[ir.Model, dict[str, ir.Tensor]]:
    """The model with the adapters of a file, and what trained as a whole beside them.

    See `Module.load_adapters`.
    """
    from safetensors import SafetensorError, safe_open

    model = expand(model)
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            described, whole = read_metadata(metadata)
            weights = find_described(model, described, whole, file)
            require_base(base_of(model, whole), metadata)
            factors = {n: tuple(file.get_tensor(f"{n}.lora_{p}") for p in "AB") for n in described}
            trained = Trained(
                weights,
                factors,
                {name: alpha for name, (_, alpha) in described.items()},
                {name: file.get_tensor(name) for name in whole},
            )
    except (SafetensorError, ir.ModelError) as error:
        raise ir.ModelError(f"cannot load the adapters '{os.fspath(path)}': {error}") from error
    return trained.added_to(model)


def read_metadata(metadata: Mapping[str, str]) -> tuple[dict[str, tuple[int, float]], list[str]]:
    """Rank and alpha by weight, and names of what trained as a whole, as a file states them."""
    if metadata.get("format") not in FORMATS:
        raise ir.ModelError(
            f"its format is {metadata.get('format')!r}; this version of onnxla reads "
            f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]}"
        )
    try:
        entries = json.loads(metadata["adapters"])
        whole = json.loads(metadata.get("whole", "[]"))
        return (
            {n: (int(e["rank"]), float(e["alpha"])) for n, e in entries.items()},
            [str(name) for name in whole],
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ir.ModelError(f"its metadata are malformed: {error!r}") from error


def require_base(base: ir.Model, metadata: Mapping[str, str]) -> None:
    """Raises ModelError unless a model is the one that adapters belong to."""
    first = metadata.get("format") == FORMAT_1
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
    model: ir.Model,
    described: Mapping[str, tuple[int, float]],
    whole: Collection[str],
    file: Any,
) -> dict[str, AdaptableWeight]:
    """The weights that a file adapts, by name, after its tensors were compared with them.

    Shapes and dtypes are compared before any data is read.
    """
    weights = find_weights(model, described)
    expected = expected_whole(model, whole)
    for name, (rank, alpha) in described.items():
        if rank < 1 or not np.isfinite(alpha):
            raise ir.ModelError(f"{quoted(name)} has rank {rank} and alpha {alpha}")
        weight = weights[name]
        for part, shape in zip("AB", weight.factor_shapes(rank), strict=True):
            expected[f"{name}.lora_{part}"] = described_as(weight.view.dtype, shape)
    require_tensors(file, expected)
    return weights


def find_weights(model: ir.Model, names: Collection[str]) -> dict[str, AdaptableWeight]:
    """The weights of some names. Raises: ModelError if one cannot be adapted, or has an adapter."""
    found, taken = find_adaptable(model), find_adapters(model)
    weights = {}
    for name in names:
        weight = found.get(name, "the model has no such constant")
        if name in taken:
            weight = "it has an adapter already"
        if isinstance(weight, str):
            raise ir.ModelError(f"they adapt {quoted(name)}, which cannot be: {weight}")
        weights[name] = weight
    return weights


def expected_whole(model: ir.Model, names: Collection[str]) -> dict[str, str]:
    """The tensors that a file has to hold of what trained as a whole: dtypes and shapes by name."""
    constants, taken = named_constants(model), find_adapters(model)
    for name in names:
        if name not in constants:
            raise ir.ModelError(
                f"they hold {quoted(name)}, which the model does not have; of a new head, call "
                "replace_head first"
            )
        if name in taken or constants[name].dtype.name not in DTYPES:
            raise ir.ModelError(f"they hold {quoted(name)}, which cannot train as a whole here")
    return {name: described_as(constants[name].dtype, constants[name].shape) for name in names}


def described_as(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    """A dtype and shape as they are compared."""
    return f"{DTYPES[dtype.name]}{[*shape]}"


def require_tensors(file: Any, expected: Mapping[str, str]) -> None:
    """Raises ModelError unless a file has the tensors that are expected, of dtypes and shapes."""
    if odd := sorted({*expected} ^ {*file.keys()}):
        raise ir.ModelError(f"the tensors that are missing or too many: {', '.join(odd[:5])}")
    for name, wanted in expected.items():
        entry = file.get_slice(name)
        actual = f"{entry.get_dtype()}{entry.get_shape()}"
        if actual != wanted:
            raise ir.ModelError(f"{quoted(name)} is {actual}, not {wanted}")
