"""Adapters as the library PEFT keeps them: a folder with a configuration and safetensors.

PEFT names a factor after the module of its weight, `base_model.model.<module>.lora_A.weight`, where
the module is the weight's name without a final `.weight`. Its factors are transposed, A [R, inputs]
and B [outputs, R], and an embedding's are `lora_embedding_A` and `lora_embedding_B`; those of a
convolution are as here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.edit.adaptable import find_adaptable
from onnxla.edit.adapter_files import (
    Trained,
    base_of,
    describe_base,
    described_as,
    expected_whole,
    find_trained,
    find_weights,
    require_base,
    require_tensors,
)
from onnxla.edit.applications import AdaptableWeight
from onnxla.edit.expansion import expand
from onnxla.ir.names import listed, quoted
from onnxla.ir.saving import replace_file

PREFIX = "base_model.model."
CONFIGURATION, TENSORS = "adapter_config.json", "adapter_model.safetensors"
# What a configuration may say that changes what adapters do, with what it has to say.
PLAIN = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "lora_bias": False,
    "layer_replication": None,
}
# A configuration is a page of text.
LONGEST = 2**20


def module_of(weight: str) -> str:
    """The module that PEFT takes a weight for a part of."""
    return weight.removesuffix(".weight")


def keys_of(name: str, weight: AdaptableWeight) -> tuple[str, str]:
    """PEFT's names of the factors of a weight."""
    if weight.applications[0].form == "rows":
        a, b = "lora_embedding_A", "lora_embedding_B"
    else:
        a, b = "lora_A.weight", "lora_B.weight"
    return f"{PREFIX}{module_of(name)}.{a}", f"{PREFIX}{module_of(name)}.{b}"


def layout(name: str, weight: AdaptableWeight) -> tuple[int, ...] | None:
    """How PEFT permutes the axes of the factors; None as here. Raises: ValueError if it has none.

    So does a permutation of its factors bring them back.
    """
    use = weight.applications[0]
    if use.form == "convolution" and use.group == 1:
        return None
    if use.form in ("right", "left", "rows") and len(weight.shape) == 2:
        return (1, 0)
    kind = "a grouped convolution" if use.form == "convolution" else str(use.node)
    raise ValueError(f"PEFT has no adapters of {kind}, such as that of {quoted(name)}")


def save_peft(model: ir.Model, params: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes the adapters of a model as a folder of PEFT's; see `Module.save_adapters`."""
    from safetensors.numpy import save

    trained = find_trained(model, params)
    tensors = {PREFIX + name: value for name, value in trained.whole.items()}
    for name, weight in trained.weights.items():
        axes, keys = layout(name, weight), keys_of(name, weight)
        factors = trained.factors[name]
        moved = factors if axes is None else (x.transpose(axes) for x in factors)
        tensors |= dict(zip(keys, map(np.ascontiguousarray, moved), strict=True))
    modules = [module_of(name) for name in trained.weights]
    if len({*modules}) < len(modules):
        raise ValueError(
            "two weights with adapters differ only in a final '.weight', unlike modules"
        )
    ranks = [trained.rank(name) for name in trained.weights]
    alphas = [*trained.alphas.values()]
    configuration = {
        **PLAIN,
        "base_model_name_or_path": None,
        "task_type": None,
        "inference_mode": True,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "r": ranks[0],
        "lora_alpha": alphas[0],
        "rank_pattern": dict(zip(modules, ranks, strict=True)) if len({*ranks}) > 1 else {},
        "alpha_pattern": dict(zip(modules, alphas, strict=True)) if len({*alphas}) > 1 else {},
        "target_modules": modules,
        "modules_to_save": sorted({n.rpartition(".")[0] or n for n in trained.whole}) or None,
    }
    metadata = {"format": "pt"}
    described = describe_base(model, trained.whole)
    metadata |= {f"onnxla.{key}": value for key, value in described.items()}
    folder = Path(path)
    folder.mkdir(exist_ok=True)
    replace_file(folder / TENSORS, [save(tensors, metadata)])
    replace_file(folder / CONFIGURATION, [json.dumps(configuration, indent=2).encode()])


def load_peft(
    model: ir.Model, path: str | os.PathLike[str]
) -> tuple[ir.Model, dict[str, ir.Tensor]]:
    """The model with the adapters of a folder of PEFT's, and what trained as a whole beside them.

    See `Module.load_adapters`.
    """
    from safetensors import SafetensorError, safe_open

    folder, model = Path(path), expand(model)
    try:
        configuration = read_configuration(folder / CONFIGURATION)
        with safe_open(folder / TENSORS, "numpy") as file:
            trained = read_tensors(model, configuration, file)
    except (SafetensorError, ValueError, OSError, ir.ModelError) as error:
        raise ir.ModelError(f"cannot load the adapters '{os.fspath(path)}': {error}") from error
    return trained.added_to(model)


def read_configuration(path: Path) -> dict[str, Any]:
    """A configuration, of adapters that are no more than two factors and their scale."""
    with path.open("rb") as file:
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise ir.ModelError(f"{path.name} is longer than {LONGEST} bytes")
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise ir.ModelError(f"{path.name} is malformed") from error
    if not isinstance(found, dict):
        raise ir.ModelError(f"{path.name} is malformed: it holds no entries")
    for key, wanted in PLAIN.items():
        if found.get(key, wanted) not in (wanted, None):
            raise ir.ModelError(f"{path.name} says {key}={found[key]!r}; onnxla reads {wanted!r}")
    return found


def read_tensors(model: ir.Model, configuration: Mapping[str, Any], file: Any) -> Trained:
    """What a folder holds, after its tensors were compared with the model's weights."""
    keys = {*file.keys()}
    named = {
        name: keys_of(name, weight)
        for name, weight in find_adaptable(model).items()
        if isinstance(weight, AdaptableWeight)
    }
    present = [name for name, pair in named.items() if keys & {*pair}]
    weights = find_weights(model, present)
    taken = {key for name in present for key in named[name]}
    if unknown := sorted(key for key in keys - taken if ".lora_" in key):
        raise ir.ModelError(
            f"{listed(unknown[:5])} is of no weight of the model that can be adapted; its weights "
            f"are called {', '.join(map(module_of, [*named][:5])) or 'otherwise'}"
        )
    whole = sorted(key.removeprefix(PREFIX) for key in keys - taken)
    expected = {PREFIX + k: v for k, v in expected_whole(model, whole).items()}
    ranks = {}
    for name, weight in weights.items():
        axes, (a, b) = layout(name, weight), named[name]
        ranks[name] = rank = file.get_slice(a).get_shape()[0] if a in keys else 0
        if rank < 1:
            raise ir.ModelError(f"{quoted(a)} is missing, or of rank 0")
        for key, shape in zip((a, b), weight.factor_shapes(rank), strict=True):
            moved = shape if axes is None else shape[::-1]
            expected[key] = described_as(weight.view.dtype, moved)
    require_tensors(file, expected)
    metadata = {
        key.removeprefix("onnxla."): value for key, value in (file.metadata() or {}).items()
    }
    if "constants" in metadata:  # written by onnxla
        require_base(base_of(model, whole), metadata)
    factors = {}
    for name, weight in weights.items():
        a, b = (file.get_tensor(key) for key in named[name])
        factors[name] = (a, b) if layout(name, weight) is None else (a.T, b.T)
    return Trained(
        weights,
        factors,
        {name: scale_of(name, rank, configuration) * rank for name, rank in ranks.items()},
        {name: file.get_tensor(PREFIX + name) for name in whole},
    )


def scale_of(name: str, rank: int, configuration: Mapping[str, Any]) -> float:
    """What a weight's update is scaled by: alpha / rank, or by its root if the file says so."""
    try:
        alpha = float(configuration.get("lora_alpha", 8))
        patterns = {str(k): float(v) for k, v in (configuration.get("alpha_pattern") or {}).items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise ir.ModelError(f"{CONFIGURATION} is malformed: {error}") from error
    for pattern, value in patterns.items():
        # PEFT reads a regular expression; one that is no name could take forever to compare.
        if set(pattern) & set("*+?[](){}|^$\\"):
            raise ir.ModelError(f"alpha_pattern has {pattern!r}, which is no module's name")
        if f".{module_of(name)}".endswith(f".{pattern}"):
            alpha = value
            break
    if not math.isfinite(alpha):
        raise ir.ModelError(f"{quoted(name)} has alpha {alpha}")
    return alpha / (math.sqrt(rank) if configuration.get("use_rslora") else rank)
