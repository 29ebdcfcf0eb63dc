"""Data with what a teacher says of it, from which a smaller model learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxla.module import Module
from onnxla.train.batches import kind_of, split_batch
from onnxla.train.losses import distillation
from onnxla.train.means import Weighted
from onnxla.train.objective import values_read
from onnxla.train.prediction import predict


def distilled(
    data: Any,
    teacher: Module,
    *,
    batch_size: int = 32,
    outputs: Sequence[str] | None = None,
    progress: bool = True,
) -> Any:
    """Data for the loss "distillation": the targets are a dict of `labels` and `teacher`.

    The teacher's logits are computed here, once for each sample. Training then compares them as it
    does all data, and resumes as exactly.

    For example:

        data = onnxla.losses.distilled((x, labels), teacher=module)
        onnxla.fit(module, data, "distillation")

    Args:
        data: A tuple (inputs, targets) or (inputs, targets, weights) of arrays, or a dict of
            arrays, as for `fit`; targets None: there are no labels.
        teacher: The model to learn from. It reads the same inputs.
        batch_size: Samples in one of its batches.
        outputs: Name of its output, if it has several. Logits are read before its last Softmax.
        progress: Whether to show a progress bar.

    Returns:
        A tuple (inputs, targets), with the weights where the data has some.

    Raises:
        TypeError: The data has another form.
    """
    if not isinstance(data, tuple | Mapping):
        raise TypeError(
            "distilled takes all data at once, a tuple (inputs, targets) or a dict of arrays; got "
            f"{kind_of(data)}"
        )
    inputs, targets = split_batch(teacher, data)
    logits = values_read(teacher, outputs, distillation).names
    said = {"teacher": predict(teacher, inputs, batch_size, logits, progress)}
    given = inputs if isinstance(data, Mapping) else data[0]
    labels, weights = (
        (targets.targets, (targets.weights,)) if isinstance(targets, Weighted) else (targets, ())
    )
    return (given, said if labels is None else {"labels": labels, **said}, *weights)
