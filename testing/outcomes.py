"""Whether two runtimes agree on a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np

from onnxla.ir import STRING
from onnxla.peers.runtimes import NotSupported, Runtime, named
from onnxla.testing.case import Case
from onnxla.testing.draw import is_integer
from onnxla.testing.fault_records import Fault, fault_of

# The kinds of outcome that speak against the runtime under test.
WRONG = ("disagreed", "failed")
Kind = Literal["agreed", "disagreed", "failed", "other failed", "unsupported", "known fault"]

# Called by `check` with each outcome, for reports on whole test runs.
OBSERVERS: list[Callable[[Outcome, Case], object]] = []


@dataclass(frozen=True)
class Outcome:
    """What came of a case in two runtimes.

    Attributes:
        kind: `agreed`; `disagreed`; `failed`: the runtime under test raised an error or crashed;
            `other failed`: the one it is compared with did; `unsupported`: one of the two says
            that it does not implement the case; `known fault`: they disagree, or the other one
            failed, for a reason that is on record.
        detail: How they differ, or what the error says.
        fault: The one on record.
    """

    kind: Kind
    detail: str = ""
    fault: Fault | None = None


class Disagreement(AssertionError):
    """A runtime disagrees with another one, or fails. The message has the case as a script."""

    def __init__(self, case: Case, runtime: str, against: str, outcome: Outcome) -> None:
        self.case = case
        self.outcome = outcome
        failed = outcome.kind == "failed"
        head = f"{runtime} fails" if failed else f"{runtime} disagrees with {against}"
        super().__init__(f"{head}: {outcome.detail}\n{case!r}\n\n{case.script()}")


def compare(
    case: Case,
    runtime: Runtime | str = "onnxla",
    against: Runtime | str = "reference",
    faults: Sequence[Fault] | None = None,
) -> Outcome:
    """Runs a case in two runtimes.

    Args:
        case: What to run.
        runtime: The one under test, or its name.
        against: The one that it is compared with, or its name.
        faults: Known faults of both; by default those that onnxla has on record.
    """
    tested, other = (named(r) if isinstance(r, str) else r for r in (runtime, against))
    try:
        expected = other.run(case.model, case.inputs)
    except NotSupported as error:
        return Outcome("unsupported", f"{other.name}: {one_line(error)}")
    except Exception as error:
        if fault := fault_of(case, [other.name], faults):
            return Outcome("known fault", one_line(error), fault)
        return Outcome("other failed", f"{other.name}: {one_line(error)}")
    try:
        got = tested.run(case.model, case.inputs)
    except NotSupported as error:
        return Outcome("unsupported", f"{tested.name}: {one_line(error)}")
    except Exception as error:
        if fault := fault_of(case, [tested.name], faults):
            return Outcome("known fault", one_line(error), fault)
        return Outcome("failed", f"{tested.name}: {one_line(error)}")
    if not (detail := difference(case, got, expected)):
        return Outcome("agreed")
    if fault := fault_of(case, [tested.name, other.name], faults):
        return Outcome("known fault", detail, fault)
    return Outcome("disagreed", detail)


def check(
    case: Case,
    runtime: Runtime | str = "onnxla",
    against: Runtime | str = "reference",
    faults: Sequence[Fault] | None = None,
    save: str | Path | None = None,
) -> Outcome:
    """Asserts that a runtime agrees with another one on a case.

    Args:
        case: What to run.
        runtime: The one under test, or its name.
        against: The one that it is compared with, or its name.
        faults: Known faults of both, which do not count; by default those on record.
        save: A folder for the model and inputs of a case that fails, as `.onnx` and `.npz`. Under
            Hypothesis the last one written is the simplest one found.

    Raises:
        Disagreement: They disagree, or the runtime under test fails.
    """
    outcome = compare(case, runtime, against, faults)
    for observe in OBSERVERS:
        observe(outcome, case)
    if outcome.kind in WRONG:
        if save is not None:
            case.save(Path(save) / f"{case.op_type}-{case.version}")
        tested, other = (r if isinstance(r, str) else r.name for r in (runtime, against))
        raise Disagreement(case, tested, other, outcome)
    return outcome


def difference(case: Case, got: Sequence[Any], expected: Sequence[Any]) -> str:
    """How outputs differ from those expected, in one line; empty if they agree."""
    if len(got) != len(expected):
        return f"{len(got)} outputs, not {len(expected)}"
    names = [value.name for value in case.proto.graph.output]
    for name, ours, theirs in zip(names, got, expected, strict=True):
        if text := _difference(case, ours, theirs):
            return f"output '{name}': {text}"
    return ""


def _difference(case: Case, got: Any, expected: Any) -> str:
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            return f"{_kind(got)}, not {_kind(expected)}"
        texts = (_difference(case, a, b) for a, b in zip(got, expected, strict=True))
        return next((f"item {i}: {text}" for i, text in enumerate(texts) if text), "")
    if expected is None or got is None:
        return "" if expected is got else f"{_kind(got)}, not {_kind(expected)}"
    if isinstance(expected, dict):
        if not isinstance(got, dict) or got.keys() != expected.keys():
            return f"{got}, not {expected}"
        # In which order the keys are means nothing.
        return _difference(case, *(np.array([v[key] for key in expected]) for v in (got, expected)))
    return array_difference(
        np.asarray(got), np.asarray(expected), case.rtol, case.atol, case.steps, case.random
    )


def _kind(value: Any) -> str:
    return (
        f"a sequence of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__
    )


def array_difference(
    got: np.ndarray,
    expected: np.ndarray,
    rtol: float = 1e-5,
    atol: float = 0.0,
    steps: int = 0,
    random: bool = False,
) -> str:
    """How an array differs from the one expected; empty if it does not.

    Floats may differ by `atol` and `rtol` of the largest finite element, and by a few units in the
    last place of their dtype; integers by `steps`. NaN equals NaN.
    """
    texts = [a.dtype == STRING or a.dtype.kind in "US" for a in (got, expected)]
    if got.dtype != expected.dtype and not all(texts):
        return f"{got.dtype}, not {expected.dtype}"
    if got.shape != expected.shape:
        return f"shape {list(got.shape)}, not {list(expected.shape)}"
    if random or got.size == 0:
        return ""
    if all(texts) or got.dtype == np.bool_:
        wrong = np.asarray(got != expected)
        return _first(wrong, got, expected)
    if is_integer(got.dtype):
        # As Python's integers, whose differences do not overflow.
        a, b = (x.astype(object) for x in (got, expected))
        return _first(np.asarray(np.abs(a - b) > steps, np.bool_), got, expected)
    with np.errstate(all="ignore"):
        precise = np.complex128 if got.dtype.kind == "c" else np.float64
        a, b = got.astype(precise), expected.astype(precise)
        finite = np.abs(b[np.isfinite(b)])
        epsilon = float(ml_dtypes.finfo(got.dtype).eps) if got.dtype.kind != "c" else 1e-7
        scale = float(finite.max()) if finite.size else 0.0
        allowed = atol + max(rtol, 4 * epsilon) * scale
        wrong = ~((np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b)))
    return _first(wrong, got, expected)


def _first(wrong: np.ndarray, got: np.ndarray, expected: np.ndarray) -> str:
    """The first element that is wrong."""
    if not wrong.any():
        return ""
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = int(wrong.sum())
    return (
        f"{got[where]!s} at {list(where)}, not {expected[where]!s} "
        f"({count} of {got.size} elements differ)"
    )


def one_line(error: Exception) -> str:
    """An error's type and message in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400]
