"""Whether a step makes of a token what a prompt's pass made of it.

A graph may take positions and masks from the length of its past, which here is that of a buffer.
What it then writes into the cache differs, so the last token that all prompts have is read twice.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxla import ir
from onnxla.generate.model import CachedModel, Caches
from onnxla.ir.names import quoted

TOLERANCE = 0.02  # of the largest value
# Where all tokens of a pass decide on the steps of 8 bits that they are rounded to.
ROUNDED = 0.25


def slots(
    model: CachedModel, caches: Caches, slot: int, shared: int | None = None
) -> dict[str, np.ndarray]:
    """What each tensor of the cache that grows has in a slot; a shared one in `shared`."""
    at = {} if shared is None else {"shared": shared}
    return {
        cache.past: np.asarray(caches[cache.past])[:, at.get(cache.kind, slot)].copy()
        for cache in model.caches
        if cache.axis is not None
    }


def compare(
    model: CachedModel, prompt: Mapping[str, np.ndarray], step: Mapping[str, np.ndarray]
) -> None:
    """Raises UnsupportedError if a step made something else of a token than a prompt's pass."""
    nodes = model.then.model.graph.nodes
    rounded = any(node.op_type.startswith("DynamicQuantize") for node in nodes)
    tolerance = ROUNDED if rounded else TOLERANCE
    for name, expected in prompt.items():
        wide = np.result_type(expected.dtype, np.float32)
        expected, got = expected.astype(wide), step[name].astype(wide)
        largest = float(np.abs(expected).max(initial=0))
        difference = float(np.abs(got - expected).max(initial=0))
        if not difference <= tolerance * largest:
            raise ir.UnsupportedError(
                f"the graph does not keep to its attention mask and positions: with a cache of a"
                f" fixed length it makes another {quoted(name)} of the same token (by"
                f" {difference:.3g}, where the largest value is {largest:.3g}), as if positions or"
                " masks came from the length of the past. Export it with inputs attention_mask and"
                " position_ids that it reads"
            )
