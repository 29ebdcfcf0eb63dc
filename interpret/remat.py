"""What a gradient keeps of the values that it needs, and what it computes again.

Products are expensive to compute again; what is between them is not, and takes most of the memory.
"""

from __future__ import annotations

from typing import Any

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})


def keeps_products(primitive: Any, *_: Any, **__: Any) -> bool:
    """Whether `jax.checkpoint` keeps the results of a JAX primitive."""
    return primitive.name in PRODUCTS
