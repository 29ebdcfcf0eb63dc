"""The dtype by which a case is counted."""

from __future__ import annotations

from onnxla.ir.dtypes import STRING
from onnxla.ir.dtypes import dtype_of as dtype_of_number
from onnxla.testing.case import Case
from onnxla.testing.schemas import schema
from onnxla.testing.types import dtype_of, type_string
from onnxla.testing.use import is_use


def element_type(case: Case) -> str:
    """The dtype of a case: of its first operand of the type variable T, or of its first operand.

    Without operands it is that of the first output, as for a graph. Texts are `string`.
    """
    graph = case.proto.graph
    values = [*graph.output, *graph.input]
    dtypes = {value.name: dtype_of(type_string(value.type)) for value in values}
    dtypes |= {t.name: dtype_of_number(t.data_type) for t in graph.initializer}
    names = [value.name for value in graph.output]
    if len(graph.node) == 1:
        names = [*case.node.input, *names]
    if is_use(case):
        variables = schema(case.op_type, case.version, case.domain).inputs.values()
        names = [*(n for n, v in zip(names, variables, strict=False) if v == "T"), *names]
    found = next(dtypes[name] for name in names if name in dtypes)
    return "string" if found == STRING else found.name
