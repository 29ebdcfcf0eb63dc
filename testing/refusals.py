"""Whether a runtime refuses a use that the specification forbids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxla.peers.isolation import RuntimeCrashed
from onnxla.peers.protocol import Runtime
from onnxla.peers.runtimes import safely_named
from onnxla.testing.invalid_uses import InvalidUse
from onnxla.testing.outcomes import one_line


@dataclass(frozen=True)
class Reaction:
    """What a runtime makes of an invalid use.

    Attributes:
        kind: `refused` with an error, `accepted` with outputs, or `crashed`: its process went down,
            or did not answer.
        detail: The error, or the dtypes and shapes of the outputs, in one line.
    """

    kind: Literal["refused", "accepted", "crashed"]
    detail: str


def refuses(runtime: Runtime | str, use: InvalidUse) -> Reaction:
    """Runs an invalid use.

    Args:
        runtime: The one under test, or its name. One that may crash should be `Isolated`, as those
            by name are that need it.
        use: What to run.
    """
    tested = safely_named(runtime) if isinstance(runtime, str) else runtime
    try:
        outputs = tested.run(use.model, use.inputs)
    except RuntimeCrashed as error:
        return Reaction("crashed", one_line(error))
    except Exception as error:
        return Reaction("refused", one_line(error))
    return Reaction("accepted", ", ".join(map(described, outputs)))


def described(value: Any) -> str:
    """The dtype and shape of an output, or what else it is."""
    if isinstance(value, list | dict) or value is None:
        return type(value).__name__
    return f"{np.asarray(value).dtype}{list(np.shape(value))}"
