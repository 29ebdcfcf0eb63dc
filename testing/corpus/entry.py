"""An entry of the corpus: a case, the values expected of it, and why these."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import onnx

import onnxla
from onnxla.ops.table import full_name
from onnxla.peers.protocol import Runtime
from onnxla.testing.case import Case
from onnxla.testing.corpus.seeded import SeededDraw
from onnxla.testing.fault_records import fault_of
from onnxla.testing.operator_cases import case_with, load_families
from onnxla.testing.outcomes import output_difference
from onnxla.testing.properties import in_double, model_in_double_precision
from onnxla.testing.schemas import schema
from onnxla.testing.wanted import Wanted

TRIES = 20  # draws for an entry, until two judges agree on one


@dataclass(frozen=True)
class Entry:
    """A case and what is expected of it.

    Attributes:
        name: As of a folder, such as `add_v14_003`.
        case: The case.
        expected: The outputs.
        source: How they were computed: `float64, rounded once` or `as it is`.
        judges: Those who give these values within the case's tolerance: two at least, or one.
        text: What the specification says, where others depart from it: it decides then.
    """

    name: str
    case: Case
    expected: Sequence[Any]
    source: str
    judges: tuple[str, ...]
    text: str = ""


def entries(
    operator: tuple[str, str],
    version: int,
    count: int,
    judges: Sequence[Runtime],
    seed: int = 0,
    wanted: Wanted = Wanted(),  # noqa: B008
) -> Iterator[Entry]:
    """Entries of an operator at a schema version, as many as two judges agree on.

    Args:
        operator: Its domain and name.
        version: The schema version.
        count: How many, at most.
        judges: Who may confirm a value; the first one computes it: onnxla.
        seed: What they are drawn from, with the operator, the version and the number.
        wanted: Which cases are wanted; see `Wanted`.
    """
    load_families()
    domain, op_type = operator
    described = schema(op_type, version, domain)
    stem = re.sub(r"\W", "_", full_name(op_type, domain)).lower()
    seen: set[bytes] = set()
    for number in range(count):
        for attempt in range(TRIES):
            text = f"{seed}/{full_name(op_type, domain)}/{version}/{number}/{attempt}"
            case = case_with(SeededDraw(described, text, wanted))
            if case.digest in seen or case.tolerance.random or not wanted.allows(case):
                continue
            entry = expected_of(f"{stem}_v{version}_{number:03}", case, judges)
            if entry is not None:
                seen.add(case.digest)
                yield entry
                break


def expected_of(name: str, case: Case, judges: Sequence[Runtime]) -> Entry | None:
    """The entry of a case; None if nobody confirms a value, and no text decides."""
    first, *others = judges
    if fault_of(case, [first.name]) is not None:
        return None
    try:
        exact = first.run(case.model, case.inputs)
    except Exception:  # whatever it is, there is no value
        return None
    values, source = exact, "as it is"
    if (wide := in_float64(case, exact)) is not None and not output_difference(case, wide, exact):
        values, source = wide, "float64, rounded once"
    agreed, departs = [first.name], None
    for judge in others:
        if fault := fault_of(case, [judge.name]):
            departs = departs or fault
            continue
        try:
            if not output_difference(case, judge.run(case.model, case.inputs), values):
                agreed.append(judge.name)
        except Exception:  # it has no answer, which says nothing
            continue
    if len(agreed) == 1 and departs is None:
        return None
    text = "" if len(agreed) > 1 or departs is None else departs.text
    return Entry(name, case, values, source, tuple(agreed), text)


def in_float64(case: Case, exact: Sequence[Any]) -> list[Any] | None:
    """The outputs computed in double precision and rounded once; None where that is none."""
    wide = model_in_double_precision(case)
    if wide is None or not any(getattr(y, "dtype", None) in HALVES for y in exact):
        return None
    try:
        with jax.enable_x64(True):
            inputs = {name: in_double(value) for name, value in case.inputs.items()}
            outputs = list(onnxla.load(wide).run(inputs).values())
    except onnxla.OnnxlaError:
        return None
    with np.errstate(all="ignore"):
        pairs = zip(outputs, exact, strict=True)
        return [np.asarray(y).astype(e.dtype) if hasattr(e, "dtype") else e for y, e in pairs]


HALVES = {
    onnx.helper.tensor_dtype_to_np_dtype(number)
    for number in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
}
