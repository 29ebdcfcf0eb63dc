"""What a run makes small: the loss, as a step computes it, and the parameters that it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from onnxla.ir.names import as_names
from onnxla.module import Module
from onnxla.ops.values import Value
from onnxla.train.batches import ArrayBatches, Batch, StreamedBatches
from onnxla.train.division import Divided, divide
from onnxla.train.labels import check_labels, number_of_classes
from onnxla.train.losses import Measure
from onnxla.train.objective import Objective, make_objective
from onnxla.train.sparsity import choose_sparse
from onnxla.train.step import look_ahead, master


@dataclass(frozen=True)
class Task:
    """What a run makes small.

    Attributes:
        module: The model, with the parameters that the run starts from.
        objective: The loss, of that part of the model which a step can trace.
        divided: How a batch's inputs become those of a step.
        trained: Names of the parameters to train.
        statistics: Names of the running statistics that follow the batches.
        sparse: Names of the parameters whose zeros stay zero.
        classes: How many classes the loss tells apart by integer labels; None if it does not.
        batch: A batch of the data.
    """

    module: Module
    objective: Objective
    divided: Divided
    trained: list[str]
    statistics: list[str]
    sparse: list[str]
    classes: int | None
    batch: Batch

    @property
    def params(self) -> dict[str, Value]:
        """The parameters in training."""
        return {name: self.module.params[name] for name in self.trained}

    @property
    def frozen(self) -> dict[str, Value]:
        """The parameters that stay as they are."""
        moving = {*self.trained, *self.statistics}
        return {name: value for name, value in self.module.params.items() if name not in moving}

    @property
    def roles(self) -> dict[str, str]:
        """The roles of the parameters in training."""
        return {name: self.module.roles[name] for name in self.trained}

    @property
    def masters(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes in which parameters are trained."""
        return {name: jax.eval_shape(master, value) for name, value in self.params.items()}

    def digest(self) -> str:
        """The digest of what is computed in training, by which a loss is known without a name."""
        inputs, targets = self.batch
        return self.objective.digest(self.divided.prepare(inputs), targets)


def find_task(
    module: Module,
    measure: Measure,
    batches: ArrayBatches | StreamedBatches,
    trained: Sequence[str],
    *,
    outputs: Sequence[str] | None = None,
    freeze_statistics: Any = None,
    keep_zeros: bool | str | Sequence[str] = False,
    computing: Module | None = None,
) -> Task:
    """What a run makes small. The model and the loss are traced for it, and nothing is compiled.

    Args:
        module: The model.
        measure: The loss.
        batches: The data.
        trained: Names of the parameters to train; statistics of batches are none.
        outputs: As for `fit`, as are the next two.
        freeze_statistics: Which running statistics stay.
        keep_zeros: Which zeros stay.
        computing: The model in the precision in which it computes.

    Raises:
        TypeError, ValueError: The data does not fit the model or the loss, or nothing trains.
    """
    computing = computing or module
    objective = make_objective(computing, measure, outputs, trained, freeze_statistics)
    inputs, targets = batches.first()
    divided = divide(computing, inputs, objective.outputs, trained)
    objective = objective.of(divided.after)
    statistics, found = look_ahead(objective, divided.prepare(inputs), targets)
    classes = number_of_classes(measure, found, targets)
    check_labels(measure, batches, classes)
    trained = [name for name in trained if name not in statistics]
    check_some_train(module, trained)
    sparse = choose_sparse(module, trained, keep_zeros)
    batch = inputs, targets
    return Task(module, objective, divided, trained, statistics, sparse, classes, batch)


def choose_trained(
    module: Module,
    train: str | Sequence[str] | None,
    roles: str | Sequence[str] | None,
    freeze: str | Sequence[str],
) -> list[str]:
    """Names of the parameters to train.

    Raises:
        ValueError: A pattern matches none, or there is no pattern in what was given.
    """
    patterns, frozen_patterns = as_names(train), as_names(freeze) or ()
    if patterns == ():
        raise ValueError(
            "train= is empty, so no parameter trains: name some, or leave it out to train all"
            " learned weights"
        )
    wanted, _ = module.partition(*(patterns or ()), roles=roles)
    frozen = module.partition(*frozen_patterns)[0] if frozen_patterns else {}
    return [
        name
        for name in wanted
        if name not in frozen and module.roles[name] != "running_statistic"  # which follow batches
    ]


def check_some_train(module: Module, trained: Sequence[str]) -> None:
    """Raises ValueError if no parameter trains."""
    if not trained:
        found = ", ".join(sorted(set(module.roles.values()))) or "none"
        raise ValueError(
            "no parameter trains: all are frozen, or have a role that does not train by default "
            f"(the model's: {found}); pass train= patterns or roles="
        )


def in_precision(module: Module, compute_dtype: Any, matmul_precision: str | None) -> Module:
    """The model as it computes in a run, as `fit` is told."""
    if compute_dtype is not None:
        module = module.autocast(compute_dtype)
    if matmul_precision is not None:
        module = Module(module.params, module.program.edited(matmul_precision=matmul_precision))
    return module
