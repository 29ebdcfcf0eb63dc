"""Which weights of a model a low-rank update can be put beside, and how nodes use them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

from onnxla import ir
from onnxla.edit.applications import AdaptableWeight, Application, Refusal
from onnxla.edit.integer_products import (
    IntegerProduct,
    Sources,
    dequantized_rows,
    multiplies_integers,
)
from onnxla.edit.scopes import Surrounding, scopes
from onnxla.edit.views import DTYPES, View, ViewStep, find_view, origin, shown, swapped
from onnxla.ir.traverse import all_nodes, is_standard
from onnxla.ops.table import Operator, lookup
from onnxla.parameters.learned import ELEMENTWISE_ROLES
from onnxla.parameters.roles import analyze, named_constants


def find_adaptable(model: ir.Model) -> dict[str, AdaptableWeight | str]:
    """For each constant tensor that is used: how to adapt it, or why it cannot be adapted."""
    analysis = analyze(model)
    functions = {function.key for function in model.functions}
    opsets, outside = dict(all_nodes(model)), scopes(model)
    found: dict[ir.Tensor, list[Application | str]] = {}
    for node, operands in analysis.operands.items():
        calls = (node.domain, node.op_type, node.overload) in functions
        version = opsets[node].get(node.domain, 1)
        operator = None if calls else lookup(node.domain, node.op_type, version)
        viewed = shown(node, operator, operands)
        for index, source in enumerate(operands):
            tensor = origin(source)
            if tensor is None or index == viewed:
                continue
            application: Application | str
            application = (
                f"{node} is, or is in, a model-local function that cannot be written out, as one "
                "of another opset; inline it first"
            )
            if node in outside and not calls:
                application = find_application(
                    node, operator, index, analysis.operands, outside[node]
                )
            found.setdefault(tensor, []).append(application)
    names = {tensor: name for name, tensor in named_constants(model).items()}
    return {name: adaptable(name, found[t]) for t, name in names.items() if t in found}


def adaptable(name: str, found: Sequence[Application | str]) -> AdaptableWeight | str:
    """A weight of which all applications can share an update, or why they cannot."""
    for application in found:
        if isinstance(application, str):
            return application
    same = cast("Sequence[Application]", found)
    kinds = {(a.form == "convolution", a.group, a.view.steps, a.view.dtype) for a in same}
    if len(kinds) > 1:
        return f"it is used in different ways by {' and by '.join(str(a.node) for a in same[:2])}"
    return AdaptableWeight(name, tuple(same))


def find_application(
    node: ir.Node, operator: Operator | None, index: int, sources: Sources, scope: Surrounding
) -> Application | str:
    """How a node applies the weight that its operand `index` shows, or why no update fits it."""
    try:
        if multiplies_integers(node, index):
            found = IntegerProduct(node, index, sources, scope).application()
        else:
            found = float_application(node, operator, index, sources, scope)
    except Refusal as refusal:
        return str(refusal)
    if found.form == "convolution":
        return found
    # A final transpose is the same as M transposed, which weights that are tied differ in.
    view, steps, transposed = found.view, found.view.steps, found.transposed
    while steps and steps[-1] == ("transpose", swapped(range(len(view.shape)))):
        steps, transposed = steps[:-1], not transposed
    shape = swapped(view.shape) if transposed != found.transposed else view.shape
    return replace(found, view=replace(view, shape=shape, steps=steps), transposed=transposed)


def float_application(
    node: ir.Node, operator: Operator | None, index: int, sources: Sources, scope: Surrounding
) -> Application:
    """How a node that computes in floating point applies a weight. Raises: Refusal."""
    operands, attributes = sources[node], node.attributes
    view = find_view(operands[index])
    if view is None:
        raise Refusal(f"{node} sees the weight in a shape that is computed")
    if is_standard(node, "MatMul", "Gemm") and origin(operands[1 - min(index, 1)]) is not None:
        raise Refusal(f"both factors of {node} are constant")
    looks_up = is_standard(node, "Gather") and index == 0 and len(view.shape) == 2
    if looks_up and attributes.get("axis", 0) in (0, -2):
        if view.dtype.name in DTYPES:
            return Application(node, view, "rows", node.inputs[1])
        return dequantized_rows(node, view, sources, scope)
    if node.domain == "" and view.dtype.name not in DTYPES:
        raise Refusal(f"{node} computes in {view.dtype}")
    transposes = [bool(attributes.get(name, 0)) for name in ("transA", "transB")]
    match node.domain, node.op_type, index:
        case "", "MatMul", 0 | 1 if len(view.shape) >= 2:
            form: Literal["left", "right"] = "right" if index else "left"
            return Application(node, view, form, node.inputs[1 - index], index == 0)
        case "", "Gemm", 0 | 1:
            return Application(
                node,
                view,
                "right" if index else "left",
                node.inputs[1 - index],
                transposed=transposes[index] ^ (index == 0),
                transpose_x=transposes[1 - index],
                factor=float(cast(float, attributes.get("alpha", 1.0))),
            )
        case "", "Conv", 1:
            group = cast(int, attributes.get("group", 1))
            return Application(node, view, "convolution", node.inputs[0], group=group)
    linear = find_linear(node, operator, index, view)
    if linear is None:
        raise Refusal(f"{node} uses it, beside which no low-rank path can be put")
    return linear


def find_linear(
    node: ir.Node, operator: Operator | None, index: int, view: View
) -> Application | None:
    """How a node applies a weight in which it is linear, as a matrix of [the rest, channels]."""
    if operator is None or not operator.linear or len(list(filter(None, node.outputs))) != 1:
        return None
    operand, order = operator.input_name(index), (*range(len(view.shape)),)
    axis = operator.channel_axis(operand, node.attributes)
    if axis is None or not -len(order) <= axis < len(order) or len(order) < 2:
        return None
    left_out = {n for n, role in operator.roles.items() if role in ("bias", *ELEMENTWISE_ROLES)}
    twice = node.inputs.count(node.inputs[index]) > 1
    if operator.roles.get(operand) != "weight" or twice or left_out & operator.present:
        return None
    if view.dtype.name not in DTYPES:
        return None
    perm = (*(i for i in order if i != order[axis]), order[axis])
    moved = tuple(view.shape[i] for i in perm)
    shape = (math.prod(moved[:-1]), moved[-1])
    steps: tuple[ViewStep, ViewStep] = (("transpose", perm), ("reshape", moved))
    matrix = tuple(itertools.compress(steps, (perm != order, shape != moved)))
    names = zip(map(operator.input_name, range(len(node.inputs))), node.inputs, strict=True)
    return Application(
        node,
        replace(view, shape=shape, steps=(*view.steps, *matrix)),
        "linear",
        node.inputs[index],
        matrix=matrix,
        left_out=frozenset(given for name, given in names if name in left_out),
    )
