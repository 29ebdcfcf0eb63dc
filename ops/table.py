"""The table of operators: what each one is called, since when, and what is true of it.

An operator is a function whose signature is the ONNX signature: positional parameters are the
inputs in order (`= None` where optional, `*xs` where variadic), keyword-only parameters are the
attributes with their defaults. Attributes that several operators share may be a group: a keyword
whose default is an instance of a frozen dataclass, whose fields the table lists as attributes.
Several outputs are returned as a tuple of all of them. A subgraph attribute arrives as a Python
function. Some keyword-only names are reserved, and filled in by the
interpreter where a function asks for them: `n_outputs`, `key` (a JAX key), `train`, `frozen`
(whether the running statistics among the operands stay as they are in training), `sample` (what
the batch is to them), `carry` (further values that control flow hands through its subgraphs,
which take them as `carry` and return their next values last, as it does), `single` (the dtype of
what the schema has in float32 whatever the operands are), and `between`: `between(names, output)`
is one value of the graph as a function of others.
"""

from __future__ import annotations

import bisect
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, get_args

from onnxla.ir.names import no_such

RESERVED = frozenset(
    {"n_outputs", "key", "train", "frozen", "sample", "carry", "single", "between"}
)
# The default of a group's field that is a required attribute.
REQUIRED: Any = inspect.Parameter.empty

Moves = Literal["reshaped", "permuted", "repeated", "sliced", "gathered", "joined", "dropped"]
Probabilities = Literal["categorical", "binary", "other"]
Exact = Literal["integers", "bits"]
# The values of traits that are named.
CHOICES = {
    name: (None, *get_args(choices))
    for name, choices in (("moves", Moves), ("probabilities", Probabilities), ("exact", Exact))
}
OPERAND_ROLES = (
    *("weight", "bias", "scale", "embedding", "running_statistic", "quantization_scale"),
    *("exponent", "addend", "subtrahend", "factor", "divisor", "state"),
)
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False, kw_only=True)
class Traits:
    """What other rooms must know of an operator, so that none of them lists operators by name.

    Attributes:
        moves: How the elements of its first operand make up its result, where they alone do:
            `reshaped` (in their order), `permuted`, `repeated`, `sliced`, `gathered` (by numbers in
            another operand), `dropped` (in training, at random); or those of all: `joined`.
        converts: Whether its result is its first operand in another dtype, or on another scale.
        reads_shape: Whether of its operand only the sizes, the length or the presence counts.
        product: Whether its time goes into sums of products, which mixed precision makes narrow.
        linear: Whether, without its biases, it is linear in each operand with a weight, so that an
            update of the weight can be added to the result.
        probabilities: Of which kind of logits it makes probabilities: `categorical`, `binary`, or
            `other` if losses cannot read these logits.
        steps: Whether it is constant between jumps, so that its derivative is zero.
        exact: Whether of integers all bits count, so that one that lost some gives another result.
            `bits`: of other numbers, too, how bits stand for them.
        transform: Whether it is a fixed linear transform, as Fourier's.
        controls: How many of its first operands decide where control flow goes.
        output_channels: By operand with a weight, the weight's axis that is the output's channels;
            of a matrix the other one where an attribute such as `transB` says so.
        times_zero: Operands that it multiplies by zeros which are no other operand's, such as a
            convolution's padding, a state before the first step, or what is masked: there an
            infinity makes NaN of results that do not depend on it, as in other runtimes.
        matched: Operands that are as long along the batch as the others, by the axis of the batch,
            since no 1 is broadcast there. None: the axis that is the others', but for `axis`.
        shaped_by: The operand that states the result's sizes.
        traceable: Static operands that a call knows, and that a trace need not know.
    """

    moves: Moves | None = None
    converts: bool = False
    reads_shape: bool = False
    product: bool = False
    linear: bool = False
    probabilities: Probabilities | None = None
    steps: bool = False
    exact: Exact | None = None
    transform: bool = False
    controls: int = 0
    output_channels: Mapping[str, int] = field(default_factory=dict)
    times_zero: Sequence[str] = ()
    matched: Mapping[str, int | None] = field(default_factory=dict)
    shaped_by: str | None = None
    traceable: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Operator(Traits):
    """One row of the table.

    Attributes:
        since: Schema versions that `function` has been checked against, ascending.
        static: Operands that decide a shape, so that they must be known while tracing.
        roles: What a parameter is that feeds an operand: weight, bias, scale, embedding,
            running_statistic, quantization_scale, exponent; or addend, subtrahend, factor or
            divisor, which may be a bias or a scale; or state, from which a recurrence starts.
        inputs: Names of the inputs in order; the last one repeats when `variadic`.
        required: How many inputs a node has to list, be they absent.
        present: Inputs that cannot be absent.
        attributes: Names of the attributes with their defaults (`inspect.Parameter.empty`: none).
        reserved: Those of `RESERVED` that the function asks for.
    """

    domain: str
    name: str
    since: tuple[int, ...]
    function: Callable[..., Any]
    static: frozenset[str]
    roles: Mapping[str, str]
    inputs: tuple[str, ...]
    required: int
    present: frozenset[str]
    variadic: bool
    attributes: Mapping[str, Any]
    reserved: frozenset[str]

    def input_name(self, index: int) -> str:
        """Name of the input at a position; that of the last one for a variadic's further ones."""
        return self.inputs[min(index, len(self.inputs) - 1)]

    def channel_axis(self, operand: str, attributes: Mapping[str, Any]) -> int | None:
        """The axis of an operand's weight that is the output's channels in a node, if stated."""
        axis = self.output_channels.get(operand)
        return axis if axis is None or not attributes.get(f"trans{operand}") else -3 - axis

    def matched_axis(self, operand: str, attributes: Mapping[str, Any], others: int) -> int:
        """The axis of the batch in a matched operand; `others` is that in the other operands."""
        axis = self.matched[operand]
        if axis is None:
            return others
        return 0 if attributes.get("layout") else axis


def full_name(op_type: str, domain: str) -> str:
    """An operator's name, with its domain if that is not ONNX's own."""
    return f"{domain}.{op_type}" if domain else op_type


TABLE: dict[tuple[str, str], list[tuple[int, Operator]]] = {}


def register(operator: Operator) -> None:
    """Adds a row. A version registered again replaces the earlier row."""
    rows = TABLE.setdefault((operator.domain, operator.name), [])
    rows[:] = sorted(
        [row for row in rows if row[0] not in operator.since]
        + [(version, operator) for version in operator.since],
        key=lambda row: row[0],
    )


def check_traits(name: str, traits: Mapping[str, Any], roles: Mapping[str, str]) -> None:
    """Raises TypeError or ValueError unless these are traits and roles that there are."""
    known = [each.name for each in fields(Traits)]
    for trait, value in traits.items():
        if trait not in known:
            raise TypeError(f"{name}: {no_such('trait', trait, known)}")
        allowed = CHOICES.get(trait)
        if allowed and value not in allowed:
            raise ValueError(
                f"{name}: {trait}={value!r} is none of {', '.join(map(repr, allowed))}"
            )
    for role in roles.values():
        if role not in OPERAND_ROLES:
            raise ValueError(f"{name}: {no_such('role', role, OPERAND_ROLES)}")


def flattened(function: Callable[..., Any], groups: Mapping[str, Any]) -> Callable[..., Any]:
    """A function that takes the attributes of its groups as keywords of their own."""

    @functools.wraps(function)
    def flat(*operands: Any, **keywords: Any) -> Any:
        for name, default in groups.items():
            given = {k: keywords.pop(k) for k in vars(default) if k in keywords}
            keywords[name] = replace(default, **given)
        return function(*operands, **keywords)

    return flat


def op(
    name: str,
    *,
    since: Sequence[int],
    domain: str = "",
    static: Sequence[str] = (),
    roles: Mapping[str, str] | None = None,
    optional: Sequence[str] = (),
    **traits: Any,
) -> Callable[[F], F]:
    """Registers a function as the operator `domain.name` from the schema versions `since` on.

    The function itself takes attributes in groups where it declares them so, the registered one
    takes each by its name.

    For example:

        @onnxla.op("Twice", since=(1,), domain="my.domain")
        def twice(x, *, offset=0.0):
            return 2 * x + offset

    Args:
        name: The operator's name.
        since: Schema versions that the function is right for.
        domain: The operator's domain.
        static: Inputs that decide a shape.
        roles: What a parameter is that feeds an input.
        optional: Inputs that may be absent though they have no default, since others follow.
        **traits: What else is true of the operator: the fields of `Traits`.

    Raises:
        ValueError: `static`, `roles` or `optional` name what is no input of the function; or a
            trait or role has a value that there is not.
        TypeError: There is no such trait.
    """

    def decorate(function: F) -> F:
        parameters = inspect.signature(function).parameters.values()
        positional = [p for p in parameters if p.kind != p.KEYWORD_ONLY]
        keywords = {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
        check_traits(name, traits, roles or {})
        groups = {k: v for k, v in keywords.items() if is_dataclass(v) and k not in RESERVED}
        attributes = {
            name: default
            for keyword, value in keywords.items()
            for name, default in (vars(value) if keyword in groups else {keyword: value}).items()
            if name not in RESERVED
        }
        inputs = tuple(p.name for p in positional)
        listed = [p for p in positional if p.default is p.empty and p.kind != p.VAR_POSITIONAL]
        named = {*static, *optional, *(roles or {})}
        for trait in ("output_channels", "times_zero", "matched", "traceable"):
            named |= {*traits.get(trait, ())}
        named |= {traits["shaped_by"]} if traits.get("shaped_by") else set()
        if unknown := named.difference(inputs):
            raise ValueError(f"{name} has no inputs {sorted(unknown)}; it has {inputs}")
        register(
            Operator(
                "" if domain == "ai.onnx" else domain,  # as files are read
                name,
                tuple(sorted(since)),
                flattened(function, groups) if groups else function,
                frozenset(static),
                dict(roles or {}),
                inputs,
                len(listed),
                frozenset(p.name for p in listed).difference(optional),
                any(p.kind == p.VAR_POSITIONAL for p in positional),
                attributes,
                RESERVED.intersection(keywords),
                **traits,
            )
        )
        return function

    return decorate


def lookup(domain: str, name: str, version: int) -> Operator | None:
    """The operator whose schema version is the greatest one not above `version`, if any.

    So a model of a newer opset than any listed keeps working.
    """
    rows = TABLE.get((domain, name), [])
    position = bisect.bisect_right(rows, version, key=lambda row: row[0])
    return rows[position - 1][1] if position else None


def rows() -> Iterator[tuple[int, Operator]]:
    """All rows of the table: (schema version, operator), by domain, name and version."""
    for key in sorted(TABLE):
        yield from TABLE[key]
