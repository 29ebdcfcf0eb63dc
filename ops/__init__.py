"""What each operator means: one function per operator, in family files, and their table."""

# Importing a family registers its operators.
from onnxla.ops import (
    arithmetic,
    index,
    shape,
)
from onnxla.ops.table import Operator, lookup, op, rows

__all__ = ["Operator", "arithmetic", "index", "lookup", "op", "rows", "shape"]
