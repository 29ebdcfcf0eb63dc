"""Arrays on the devices of a mesh, which may be those of several processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding


def automatic(mesh: Mesh) -> Mesh:
    """The same devices under the same names, with axes that XLA decides about."""
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def mesh_of(params: Mapping[str, Any]) -> Mesh | None:
    """The mesh of several devices that parameters are on, if they are on one."""
    for value in params.values():
        where = value.sharding if isinstance(value, jax.Array) else None
        if isinstance(where, NamedSharding) and where.mesh.size > 1:
            return where.mesh if isinstance(where.mesh, Mesh) else None
    return None


def put(value: Any, sharding: NamedSharding) -> jax.Array:
    """An array on a mesh. Each process sends what its devices hold of one that all have."""
    is_global = isinstance(value, jax.Array) and not value.is_fully_addressable
    if is_global or sharding.is_fully_addressable:
        placed: jax.Array = jax.device_put(value, sharding)
        return placed
    own = np.asarray(value)
    return jax.make_array_from_callback(own.shape, sharding, lambda index: own[index])


def is_shared(params: Mapping[str, Any]) -> bool:
    """Whether a parameter is on devices of several processes."""
    return any(isinstance(x, jax.Array) and not x.is_fully_addressable for x in params.values())


def as_numpy(value: Any) -> np.ndarray:
    """All of an array, in each process. If devices of others hold parts, all have to ask for it."""
    if isinstance(value, jax.Array) and not (
        value.is_fully_addressable or value.is_fully_replicated
    ):
        return np.asarray(multihost_utils.process_allgather(value, tiled=True))
    return np.asarray(value)
