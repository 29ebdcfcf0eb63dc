"""Whether a runtime refuses a use that the specification forbids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxla.peers.isolation import RuntimeCrashed
from onnxla.peers.protocol import Runtime
from onnxla.testing.case import Case
from onnxla.testing.invalid_uses import InvalidUse
from onnxla.testing.outcomes import Outcome, one_line, runtime_of


@dataclass(frozen=True)
class Reaction:
    """What a runtime makes of an invalid use.

    For example:

        reaction = onnxla.testing.Reaction("refused", "ModelError: no such type")

    Attributes:
        kind: `refused` with an error, `accepted` with outputs, or `crashed`: its process went down,
            or did not answer.
        detail: The error, or the dtypes and shapes of the outputs, in one line.
    """

    kind: Literal["refused", "accepted", "crashed"]
    detail: str


def refuses(runtime: Runtime | str, use: InvalidUse) -> Reaction:
    """Runs an invalid use.

    For example:

        @given(onnxla.testing.refused("Neg"))
        @settings(max_examples=2, deadline=None)
        def test_refusal(use):
            assert onnxla.testing.refuses("onnxla", use).kind != "crashed"

        test_refusal()

    Args:
        runtime: The one under test, or its name. One that may crash should be `Isolated`, as those
            by name are that need it.
        use: What to run.
    """
    try:
        outputs = runtime_of(runtime).run(use.model, use.inputs)
    except RuntimeCrashed as error:
        return Reaction("crashed", one_line(error))
    except (Exception, SystemExit) as error:
        return Reaction("refused", one_line(error))
    return Reaction("accepted", ", ".join(map(described, outputs)))


def described(value: Any) -> str:
    """The dtype and shape of an output, or what else it is."""
    if isinstance(value, list | dict) or value is None:
        return type(value).__name__
    return f"{np.asarray(value).dtype}{list(np.shape(value))}"


@dataclass(frozen=True, eq=False, repr=False)
class ForbiddenCase(Case):
    """An invalid use as a case, for `fuzz`.

    Attributes:
        wrong: What is wrong with it, and why.
    """

    wrong: str = ""

    @classmethod
    def of(cls, use: InvalidUse) -> ForbiddenCase:
        """The case of an invalid use."""
        return cls(use.model, use.inputs, wrong=f"{use.what}: {use.why}")


def compare_refusal(case: Case, runtime: Runtime | str) -> Outcome:
    """Whether a runtime refuses what the schema forbids: `agreed`, `disagreed`, or it crashes."""
    wrong = case.wrong if isinstance(case, ForbiddenCase) else "what is forbidden"
    reaction = refuses(runtime, InvalidUse(case.model, case.inputs, case.op_type, wrong, ""))
    if reaction.kind == "refused":
        return Outcome("agreed", judges=("schema",))
    if reaction.kind == "crashed":
        return Outcome("failed", reaction.detail, judges=("schema",), crashed=True)
    return Outcome("disagreed", f"accepts {wrong}, and gives {reaction.detail}", judges=("schema",))
