"""What nodes around an operand say it is: a product's bias, a normalization's scale, a filler."""

from __future__ import annotations

from onnxla.ir.model import Tensor
from onnxla.ir.traverse import is_standard
from onnxla.parameters.sources import Producer, Source, is_constant, rearranged


def multiplies(producer: Producer) -> bool:
    """Whether an operator has a weight among its operands."""
    return producer.operator is not None and "weight" in producer.operator.roles.values()


def is_filler(producer: Producer, index: int) -> bool:
    """Whether an operand is what stands for no scale or no bias in a normalization of groups.

    It is written as one of instances, of what is reshaped so that a group is one.
    """
    source, data = producer.operands[index], producer.operands[0]
    if not (is_standard(producer.node, "InstanceNormalization") and isinstance(source, Tensor)):
        return False
    regrouped = isinstance(data, Producer) and is_standard(data.node, "Reshape")
    neutral = 1 if producer.role(index) == "scale" else 0
    return regrouped and index > 0 and bool((source.numpy() == neutral).all())


def is_product(source: Source) -> bool:
    """Whether a value is what an operator with a weight makes."""
    made = rearranged(source)
    return isinstance(made, Producer) and multiplies(made)


def has_one_channel(source: Source) -> bool:
    """Whether a value is what a weight with one output channel makes."""
    made = rearranged(source)
    if not isinstance(made, Producer) or made.operator is None:
        return False
    for name, operand in zip(made.operator.inputs, made.operands, strict=False):
        axis, weight = made.operator.channel_axis(name, made.node.attributes), rearranged(operand)
        if axis is None or not isinstance(weight, Tensor):
            continue
        if weight.shape[axis:][:1] == (1,):
            return True
    return False


def is_scaled(source: Source) -> bool:
    """Whether a value is normalized and multiplied by a scale, to which a bias may be added."""
    made = rearranged(source)
    if not isinstance(made, Producer) or not is_standard(made.node, "Mul"):
        return False
    return is_normalized(made) or any(map(is_normalized, made.operands))


def is_normalized(source: Source) -> bool:
    """Whether a value is divided by the length or deviation of data, or is 1 divided by that."""
    match rearranged(source):
        case Producer(node=node, operands=operands) if is_standard(node, "Mul"):
            return any(map(is_inverse_root, operands))
        case Producer(node=node, operands=(_, divisor)) if is_standard(node, "Div"):
            return is_root(divisor)
        case made:
            return is_inverse_root(made)


def is_inverse_root(source: Source) -> bool:
    """Whether a value is 1 divided by a root of data."""
    match rearranged(source):
        case Producer(node=node, operands=(root,)) if is_standard(node, "Reciprocal"):
            return is_root(root)
        case Producer(node=node, operands=(one, root)) if is_standard(node, "Div"):
            return is_constant(one) and is_root(root)
        case Producer(node=node, operands=(data, Tensor() as power)) if is_standard(node, "Pow"):
            return not is_constant(data) and power.shape == () and power.numpy() == -0.5
    return False


def is_root(source: Source) -> bool:
    """Whether a value is a root of data, or a length."""
    made = rearranged(source)
    if not isinstance(made, Producer) or made.constant:
        return False
    return is_standard(made.node, "Sqrt", "ReduceL2")
