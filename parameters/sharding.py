"""Where parameters are on a mesh of devices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from onnxla.ir.names import listed, quoted
from onnxla.parameters.roles import ROLES
from onnxla.parameters.selection import matching

Rules = Mapping[str, PartitionSpec] | str | None
"""Specs by name, pattern or role of parameters; or "fsdp"."""
DATA = "data"
SMALL = 2**12  # elements; to gather fewer at each use costs more than it saves


def data_axis(mesh: Mesh) -> str:
    """The axis over which batches are split: "data", or the first."""
    return DATA if DATA in mesh.axis_names else str(mesh.axis_names[0])


def shardings(
    params: Mapping[str, Any], roles: Mapping[str, str], mesh: Mesh, rules: Rules = None
) -> dict[str, NamedSharding]:
    """How each parameter is sharded.

    Args:
        params: The parameters.
        roles: Their roles.
        mesh: The devices.
        rules: The first pattern or role that chooses a parameter has its spec; those that none
            chooses are on every device. With "fsdp", each parameter of some size is split over the
            axis of the data, along the longest of its axes that can be.

    Raises:
        TypeError: A rule is no PartitionSpec.
        ValueError: A pattern or role chooses no parameter, or a spec does not fit one.
    """
    if rules == "fsdp":
        specs = {name: split(np.shape(value), mesh) for name, value in params.items()}
    elif isinstance(rules, str):
        raise ValueError(f"sharding is 'fsdp', or a dict of specs by pattern; got {rules!r}")
    else:
        specs = {}
        for pattern, spec in (rules or {}).items():
            if not isinstance(spec, PartitionSpec):
                raise TypeError(f"sharding of '{pattern}' is a PartitionSpec, got {spec!r:.100}")
            found = [name for name in params if roles[name] == pattern]
            if pattern in ROLES and not found:
                known = listed(sorted({*roles.values()}))
                raise ValueError(f"no parameter has the role '{pattern}'; there are {known}")
            for name in found or matching(pattern, params):
                specs.setdefault(name, spec)
    for name, value in params.items():
        check_fits(name, np.shape(value), specs.setdefault(name, PartitionSpec()), mesh)
    return {name: NamedSharding(mesh, specs[name]) for name in params}


def split(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """The spec by which "fsdp" splits an array, if it does."""
    devices = mesh.shape[data_axis(mesh)]
    able = [axis for axis, size in enumerate(shape) if size % devices == 0]
    if math.prod(shape) < SMALL or not able:
        return PartitionSpec()
    longest = max(able, key=lambda axis: shape[axis])
    return PartitionSpec(*[None] * longest, data_axis(mesh))


def check_fits(name: str, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh) -> None:
    """Raises ValueError if a parameter cannot be sharded as a spec says."""
    told = f"{spec} does not fit the parameter {quoted(name)} of shape {list(shape)}"
    if len(spec) > len(shape):
        raise ValueError(f"{told}, which has {len(shape)} axes")
    for axis, names in enumerate(spec):
        each = names if isinstance(names, tuple) else () if names is None else (names,)
        if unknown := [n for n in each if n not in mesh.axis_names]:
            raise ValueError(f"{told}: the mesh has {[*mesh.axis_names]}, no axis {unknown[0]!r}")
        devices = math.prod(mesh.shape[n] for n in each)
        if shape[axis] % devices:
            raise ValueError(f"{told}: {devices} devices do not divide axis {axis}")
