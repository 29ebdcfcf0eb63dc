"""`fit`: training as a loop over batches, with evaluation, checkpoints and resume."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.interpret.rolling.stacks import NO_STACKS, Stacks
from onnxla.interpret.rules.matmul_precision import asked_for, check_precision
from onnxla.ir.problems import Problems
from onnxla.left_open import left_open
from onnxla.module import Module
from onnxla.progress import ProgressBar
from onnxla.train.averages import AVERAGE, begin_average
from onnxla.train.batches import as_batches
from onnxla.train.callbacks import Callbacks
from onnxla.train.checkpoints import Checkpoints
from onnxla.train.description import describe_run, versions
from onnxla.train.digests import digest_of_optimizer
from onnxla.train.division import divide
from onnxla.train.evaluation import Metrics, as_list, make_evaluation
from onnxla.train.held_out import hold_out
from onnxla.train.live import Live, in_notebook
from onnxla.train.loop import FitResult, Loop
from onnxla.train.losses import LOSSES, Measure, find_measure, known_name, name_of
from onnxla.train.monitor import METRIC, find_monitor
from onnxla.train.objective import make_objective
from onnxla.train.optimizer import (
    DEFAULT,
    bare_optimizer,
    evaluates_loss,
    make_optimizer,
    make_rate,
)
from onnxla.train.resume import go_on_after_stop
from onnxla.train.sparsity import choose_sparse, describe_zeros
from onnxla.train.stacking import find_stacks
from onnxla.train.step import double_precision, find_statistics, make_step, master


def fit(
    module: Module,
    data: Any,
    loss: str | Measure,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    train: str | Sequence[str] = (),
    roles: Sequence[str] | None = None,
    freeze: str | Sequence[str] = (),
    freeze_statistics: bool | str | Sequence[str] | None = None,
    keep_zeros: bool | str | Sequence[str] = False,
    outputs: Sequence[str] | None = None,
    optimizer: Any = None,
    learning_rate: Any = None,
    schedule: str | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    weight_average: float | None = None,
    validation: Any = None,
    validate_every: int | None = None,
    metrics: Metrics = (),
    monitor: str | tuple[str, str] | None = None,
    min_delta: float = 0.0,
    patience: int | None = None,
    callbacks: Any = (),
    compute_dtype: Any = None,
    matmul_precision: str | None = None,
    remat: bool = False,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool = True,
    progress: bool = True,
) -> FitResult:
    """The module trained on data, and the history of the run.

    Training is that of `apply_train`: Dropout drops, and BatchNormalization uses the batch's
    statistics and updates the running ones. Parameters of less than 32 bits are trained in float32
    and rounded in the end. If a parameter is float64, loss and optimizer see float64, too.

    Args:
        module: The model to train. It stays as it is.
        data: A tuple (inputs, targets) of arrays with a leading sample axis, where the inputs are
            one array, a tuple of them in order or a dict by name; or a dict of arrays, in which
            what is no input is a target; or any iterable of batches in one of these forms, such as
            a list or a PyTorch DataLoader, or with `steps` a generator. Each new shape of a batch
            compiles the step again.
        loss: `"cross_entropy"` (integer labels), `"cross_entropy_probabilities"`,
            `"binary_cross_entropy"`, `"mse"`, `"ctc"` (see `onnxla.losses`), or a function of the
            outputs and the targets that returns a scalar, or a scalar and a dict of scalars to
            record. Those of logits read what the model's last Softmax or Sigmoid reads, if it ends
            with one.
        epochs: Number of passes over the data; 1 if `steps` is not given either.
        steps: Number of steps, in as many epochs as they need.
        batch_size: Samples in a batch of arrays. In training, samples of an epoch's random order
            that do not fill the last batch wait for the next epoch.
        shuffle: Whether arrays are shuffled, in each epoch anew. If not, the last batch may be
            smaller.
        train: Names or patterns of the parameters to train, as for `partition`.
        roles: Roles of the parameters to train, as for `partition`.
        freeze: Names or patterns of parameters that do not train all the same.
        freeze_statistics: Names or patterns of the running statistics that stay as they are,
            besides those of layers that do not train; False: none stays. As for `apply_train`.
        keep_zeros: Whether elements that are exactly zero when the run begins stay so, as in a
            pruned model: of all weights and embeddings that train, or of those parameters that
            names or patterns choose among them. Not for adapters, which fill zeros once merged.
        outputs: Names of the values that loss and metrics are functions of, by default the graph's
            outputs; intermediate values may be among them.
        optimizer: An optax optimizer, or the name of one, as `"adamw"`, the default, `"sgd"`,
            `"lion"` or `"lbfgs"`. Weights decay, biases and scales do not, if one by name decays
            any. One that asks for the loss (`optax.lbfgs`, `optax.contrib.reduce_on_plateau`) gets
            it. L-BFGS is for batches of all samples.
        learning_rate: The largest learning rate of an optimizer by name, or a schedule of optax;
            for AdamW and those akin to it 1e-4 by default.
        schedule: What becomes of the learning rate after it has risen during the first twentieth of
            the steps: `"cosine"`, the default, and `"linear"` fall to 0, `"constant"` stays.
        accumulate: Number of steps whose mean gradient makes one update of the parameters.
        clip_norm: Largest norm of the gradient.
        weight_average: Decay of an exponential moving average of parameters and running statistics,
            such as 0.999: validation and the result have the average. It begins with shorter ones.
        validation: Data to evaluate on after each epoch, every sample of it, as `evaluate` does. Or
            the share of the data, such as 0.2, to hold out for it: random samples of arrays.
        validate_every: Number of steps between further validations within epochs.
        metrics: Names (`"accuracy"`, or a loss's) and functions of the outputs and the targets,
            computed on the validation data.
        monitor: Name of the validation's number that says which parameters are the best: with it,
            the result has those of the best validation. By default the validation loss; if a metric
            is not known to be better when high or when low, a pair such as `("name", "max")`.
        min_delta: By how much a validation has to be better to be the best.
        patience: Stops after so many validations after the best one; the result then has the
            parameters of the best.
        callbacks: Functions of (step, logs), called after each step with the number of steps done
            and its numbers by name; or objects with methods among `start(run)`, `step(step, logs)`,
            `validation(step, logs)`, within an epoch, `epoch(epoch, logs)`,
            `checkpoint(step, path)` and `end(result)`, as those of `onnxla.loggers`. One that
            returns True stops the run: a step's after the step that has begun meanwhile.
        compute_dtype: Dtype such as `"bfloat16"` in which matrix products and convolutions are
            computed; parameters and everything else stay in the model's (see `Module.autocast`).
        matmul_precision: Precision of matrix products and convolutions, as for `load`; by default
            the module's.
        remat: Whether values other than products are computed again for the gradient, which takes
            less memory and more time.
        seed: Decides the order of arrays, and what Dropout drops.
        checkpoint: Folder for checkpoints: one after each epoch and each validation, when
            interrupted, and every `checkpoint_every` steps. The last three are kept, and the best.
        checkpoint_every: Number of steps.
        resume: Whether to go on from the folder's last checkpoint that is intact, if it has any.
            Data, loss, optimizer and settings must be those of before; more epochs or steps may be
            asked for. An iterable must give the same batches again: those already used are drawn,
            compared and skipped.
        progress: Whether to show a progress bar, and in a notebook the history as it grows.

    Raises:
        TypeError, ValueError: The data does not fit the model or the loss, or an option is wrong.
        NonFiniteLossError: A loss or gradient is NaN or infinite. That step changes nothing.
        CheckpointError: A checkpoint cannot be written, none is intact, the last is of another run,
            or another run writes to the folder.
        KeyboardInterrupt: After the step at hand is complete and, if asked for, saved.

        The last three, and an error of a callback, have an attribute `result` with what was trained
        until then.
    """
    if epochs is not None and steps is not None:
        raise ValueError("pass epochs or steps, not both")
    epochs = 1 if epochs is None and steps is None else epochs
    check_counts(
        epochs=epochs,
        steps=steps,
        patience=patience,
        validate_every=validate_every,
        accumulate=accumulate,
    )
    if weight_average is not None and not 0 < weight_average < 1:
        raise ValueError(f"weight_average is between 0 and 1, as 0.999; got {weight_average}")
    if validation is None and (metrics or patience or validate_every or monitor or min_delta):
        raise ValueError(
            "metrics, monitor, min_delta, patience and validate_every are about validation data:"
            " pass validation="
        )
    if isinstance(validation, float):
        data, validation = hold_out(data, validation, seed)
    batches = as_batches(module, data, batch_size, shuffle=shuffle, seed=seed)
    total = steps
    if epochs is not None and batches.length is not None:
        total = epochs * batches.length
    tuned = module if compute_dtype is None else module.autocast(compute_dtype)
    if matmul_precision is not None:
        check_precision(matmul_precision)
        tuned = Module(tuned.params, tuned.program.edited(matmul_precision=matmul_precision))
    function = find_measure(loss, "loss", LOSSES)
    names = [each if isinstance(each, str) else name_of(each) for each in as_list(metrics)]
    # A loss that is a function may return further numbers.
    watched = find_monitor(monitor, [METRIC, *names] if known_name(function) else [], min_delta)
    told = Callbacks(callbacks)
    if progress and in_notebook():
        told.members = [*told.members, Live()]
    trained = choose_trained(module, train, roles, freeze)
    objective = make_objective(tuned, function, outputs, trained, freeze_statistics)
    with jax.numpy_dtype_promotion("standard"), double_precision(module):
        inputs, targets = batches.first()
        divided = divide(tuned, inputs, objective.outputs, trained)
        objective = objective.of(divided.after)
        statistics = find_statistics(objective, divided.prepare(inputs), targets)
        trained = [name for name in trained if name not in statistics]
        check_some_train(module, trained)
        sparse = choose_sparse(module, trained, keep_zeros)

        params = {name: module.params[name] for name in trained}
        roles_of = {name: module.roles[name] for name in trained}

        def rate_for(total: int | None) -> Any:
            return make_rate(optimizer, learning_rate, schedule, total, accumulate)

        def optimizer_for(total: int | None, stacks: Stacks = NO_STACKS) -> Any:
            roles = stacks.keyed(roles_of)
            return make_optimizer(roles, optimizer, rate_for(total), accumulate, clip_norm, sparse)

        rate = rate_for(total)
        named = None if optimizer in (None, DEFAULT) else bare_optimizer(optimizer, rate)
        stacks = NO_STACKS if sparse else find_stacks(objective, params, roles_of, named)
        used = optimizer_for(total, stacks)
        state = {
            "params": jax.tree.map(master, stacks.stacked(params)),
            "statistics": {name: master(module.params[name]) for name in statistics},
        }
        # Some keep the parameters, or one array twice; a step that takes its state over cannot.
        state["optimizer"] = jax.tree.map(jnp.copy, used.init(state["params"]))
        if weight_average is not None:
            state[AVERAGE] = begin_average(state)
        settings = {
            "loss": name_of(function),
            "learning_rate": None if callable(learning_rate) else learning_rate,
            "accumulate": accumulate,
            "clip_norm": clip_norm,
            "weight_average": weight_average,
            "compute_dtype": None if compute_dtype is None else str(jnp.dtype(compute_dtype)),
            "matmul_precision": asked_for(tuned.program.matmul_precision),
            "seed": seed,
        }
        line_search = named is not None and evaluates_loss(named, params)
        if line_search and (accumulate > 1 or clip_norm is not None):
            raise ValueError(
                "an optimizer that evaluates the loss for itself, as L-BFGS, takes the gradient of"
                " that loss: neither accumulate= nor clip_norm="
            )
        loop = Loop(
            module,
            divided.prepare,
            make_step(
                objective,
                used,
                seed,
                remat,
                rate=rate,
                accumulate=accumulate,
                weight_average=weight_average,
            ),
            state,
            stacks.stacked(
                {
                    name: value
                    for name, value in module.params.items()
                    if name not in {*trained, *statistics}
                }
            ),
            batches,
            stacks=stacks,
            epochs=epochs,
            total=steps,
            validate_every=validate_every,
            monitor=watched,
            keep_best=patience is not None or monitor is not None,
            patience=patience,
            callbacks=told,
            settings={
                **settings,
                "optimizer": named_or_type(optimizer),
                "schedule": schedule,
                "batch_size": batch_size,
                "epochs": epochs,
                "steps": steps,
            },
            every=checkpoint_every,
            length=total,
        )
        for note in open_questions(module, trained, not train and roles is None):
            loop.history.note(note)
        if sparse:
            loop.history.note(describe_zeros(module, sparse))
        if weight_average is not None:
            loop.history.note(
                f"validation and the result have averages of the weights, of decay {weight_average}"
            )
        if line_search and batches.length != 1:
            loop.history.note(
                "the optimizer evaluates the loss along a line, on one batch: each is to have all"
                f" samples (batch_size=), and there are {batches.length or 'many'} batches"
            )
        if (read := objective.outputs) != tuple(outputs or module.output_names):
            loop.history.note(
                f"the loss reads '{', '.join(read)}', the logits before the last node"
            )
        held_out = None if validation is None else as_batches(module, validation, batch_size)
        if held_out is not None:
            evaluation = make_evaluation(tuned.inference(), objective, metrics, outputs)
            loop.evaluate = lambda params: evaluation(params, held_out)
        with contextlib.ExitStack() as stack:
            if checkpoint is not None:
                loop.checkpoints = stack.enter_context(contextlib.closing(Checkpoints(checkpoint)))
                if not resume and loop.checkpoints.steps:
                    raise ValueError(
                        f"'{checkpoint}' has checkpoints of steps {loop.checkpoints.steps}: "
                        "resume from the last, or choose another folder"
                    )

                masters = {name: jax.eval_shape(master, value) for name, value in params.items()}

                def update(total: int | None) -> str:
                    return digest_of_optimizer(optimizer_for(total), masters)

                loop.description = describe_run(
                    module,
                    masters,
                    jax.eval_shape(optimizer_for(total).init, masters),
                    **settings,
                    loss_program=(
                        None
                        if known_name(function)
                        else objective.digest(divided.prepare(inputs), targets)
                    ),
                    data=batches.describe(),
                    validation=None if held_out is None else held_out.describe(),
                    monitor=None if watched.name == METRIC else str(watched),
                    schedule=None if schedule == "cosine" else schedule,
                    freeze_statistics=() if freeze_statistics is None else freeze_statistics,
                    keep_zeros=sparse or None,
                    loops=objective.module.program.loops(objective.outputs, stacks) or None,
                    outputs=objective.outputs,
                    update=update(total),
                    versions=versions(),
                )
                go_on_after_stop(loop, update)
            bar = ProgressBar(total, "training", "step", done=loop.step, shown=progress)
            return loop.run(stack.enter_context(bar))


def check_counts(**counts: int | None) -> None:
    """Raises ValueError if one of some numbers is given and not positive."""
    for name, number in counts.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} is at least 1, got {number}")


def named_or_type(optimizer: Any) -> str:
    """The name of an optimizer, or the type of one that was given."""
    if isinstance(optimizer, str):
        return optimizer
    return DEFAULT if optimizer is None else type(optimizer).__name__


def choose_trained(
    module: Module,
    train: str | Sequence[str],
    roles: Sequence[str] | None,
    freeze: str | Sequence[str],
) -> list[str]:
    """Names of the parameters to train. Raises: ValueError if a pattern matches none."""
    patterns, frozen_patterns = (
        (given,) if isinstance(given, str) else tuple(given) for given in (train, freeze)
    )
    wanted, _ = module.partition(*patterns, roles=roles)
    frozen = module.partition(*frozen_patterns)[0] if frozen_patterns else {}
    return [
        name
        for name in wanted
        if name not in frozen and module.roles[name] != "running_statistic"  # which follow batches
    ]


def open_questions(module: Module, trained: Sequence[str], all_by_default: bool) -> list[str]:
    """What the file leaves open: of what trains, and if no one chose that, of what does not."""
    program = module.program
    answered = program.parameters.undecided.keys() & {*trained}
    return Problems(
        text
        for name, text in left_open(program.parameters, program.analysis)
        if name not in answered and (all_by_default or name in trained)
    ).listed()


def check_some_train(module: Module, trained: Sequence[str]) -> None:
    """Raises ValueError if no parameter trains."""
    if not trained:
        found = ", ".join(sorted(set(module.roles.values()))) or "none"
        raise ValueError(
            "no parameter trains: all are frozen, or have a role that does not train by default "
            f"(the model's: {found}); pass train= patterns or roles="
        )
