"""`fit`: training as a loop over batches, with evaluation, checkpoints and resume."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.arguments import check_arguments, is_number, plain_number
from onnxla.interpret.rules.matmul_precision import asked_for
from onnxla.ir.names import as_names
from onnxla.module import Module, require_module
from onnxla.parameters.processes import is_first
from onnxla.parameters.sharding import Rules
from onnxla.progress import ProgressBar, in_notebook
from onnxla.train.arguments import FIT
from onnxla.train.batches import ArrayBatches, StreamedBatches, as_batches
from onnxla.train.callbacks import Callbacks
from onnxla.train.checkpoints import Checkpoints
from onnxla.train.description import describe_run
from onnxla.train.evaluation import Metrics, as_data, make_evaluation, names_of
from onnxla.train.held_out import hold_out
from onnxla.train.labels import (
    check_labels,
    targets_at_hand,
    with_checked_labels,
    with_class_weight,
)
from onnxla.train.live import Live
from onnxla.train.loop import FitResult, Loop, NonFiniteLossError
from onnxla.train.losses import LOSSES, Measure
from onnxla.train.measures import find_measure, known_loss
from onnxla.train.mesh import ONE_DEVICE, find_placement, require_alike
from onnxla.train.metrics import name_of
from onnxla.train.monitor import METRIC, Monitor, find_monitor
from onnxla.train.notes import note_on_samples, notes_after_stop, notes_before
from onnxla.train.plateau import Plateau
from onnxla.train.reading import make_reading
from onnxla.train.recipe import Recipe
from onnxla.train.resume import go_on_after_stop
from onnxla.train.start import make_start
from onnxla.train.step import double_precision
from onnxla.train.task import choose_trained, find_task, in_precision


def fit(
    module: Module,
    data: Any,
    loss: str | Measure,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    rename: Mapping[str, str] | None = None,
    batch_axis: Mapping[str, int] | None = None,
    bucket: Mapping[str, int] | None = None,
    train: str | Sequence[str] | None = None,
    roles: str | Sequence[str] | None = None,
    freeze: str | Sequence[str] = (),
    freeze_statistics: bool | str | Sequence[str] | None = None,
    keep_zeros: bool | str | Sequence[str] = False,
    outputs: str | Sequence[str] | None = None,
    optimizer: Any = None,
    learning_rate: Any = None,
    schedule: str | Plateau | None = None,
    warmup: float | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    weight_average: float | None = None,
    validation: Any = None,
    validate_every: int | None = None,
    metrics: Metrics = (),
    class_weight: Any = None,
    monitor: str | tuple[str, str] | None = None,
    min_delta: float = 0.0,
    patience: int | None = None,
    callbacks: Any = (),
    compute_dtype: Any = None,
    matmul_precision: str | None = None,
    remat: bool = False,
    mesh: jax.sharding.Mesh | None = None,
    sharding: Rules = None,
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

    For example:

        result = onnxla.fit(module, (x, labels), "cross_entropy", epochs=2, validation=0.2)
        result.module.save("tuned.onnx")

    Args:
        module: The model to train. It stays as it is.
        data: A tuple (inputs, targets) of arrays with a leading sample axis, where the inputs are
            one array, a tuple of them in order or a dict by name; or such a tuple (inputs, targets,
            weights), the weights being one number a sample or one an element of the loss, as a mask
            of padding; or a dict of arrays, in which what is no input is a target; a DataFrame,
            whose columns are these, or (DataFrame, Series); a dataset with a length, a Hugging Face
            `Dataset` or a list, of samples in one of these forms; or any iterable of batches in one
            of them, such as a list, a PyTorch DataLoader or a `tf.data.Dataset`, or with `steps` a
            generator. Each new shape of a batch compiles the step again.
        loss: A name in `onnxla.losses.LOSSES`, such as `"cross_entropy"` (integer labels, of which
            -100 does not count) or `"mse"`; one of its functions with arguments fixed by
            `functools.partial`; or a function of the outputs, the targets and, if the data has
            them, the weights that returns a scalar, or a scalar and a dict of scalars to record.
            Losses of logits read what the model's last Softmax or Sigmoid reads, if it ends with
            one.
        epochs: Number of passes over the data; 1 if `steps` is not given either.
        steps: Number of steps, in as many epochs as they need.
        batch_size: Samples in a batch, of data that is no batches. In training, samples of an
            epoch's random order that do not fill the last batch wait for the next epoch.
        shuffle: Whether samples are shuffled, in each epoch anew. If not, the last batch may be
            smaller.
        rename: The inputs that names of the data are, such as `{"pixel_values": "x"}`.
        batch_axis: The axis of the samples, by name, of inputs and targets of which it is not the
            first, such as `{"h0": 1}`; in batches, too. Targets without a name are `"targets"`.
        bucket: Multiples to which symbolic dimensions of the inputs are padded in each batch, such
            as `{"seq": 16}`, so that there are few shapes: inputs with zeros, and integer targets
            that have the dimension, too, with -100, which losses ignore. Samples of different
            lengths are padded to the batch's longest in any case.
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
        schedule: What becomes of the learning rate after it has risen: `"cosine"`, the default, and
            `"linear"` fall to 0, `"constant"` stays, and `"plateau"` falls to a tenth where ten
            validations are no better than the best (by `monitor`), or without validation data the
            mean losses of ten epochs; `onnxla.Plateau` has other numbers.
        warmup: Share of the steps in which it rises, by default a twentieth.
        accumulate: Number of steps whose mean gradient makes one update of the parameters.
        clip_norm: Largest norm of the gradient.
        weight_average: Decay of an exponential moving average of parameters and running statistics,
            such as 0.999: validation and the result have the average. It begins with shorter ones.
        validation: Data to evaluate on after each epoch, every sample of it, as `evaluate` does. Or
            the share of the data, such as 0.2, to hold out for it: random samples, which `seed`
            decides, of data that is no iterable of batches.
        validate_every: Number of steps between further validations within epochs.
        metrics: As for `evaluate`, computed on the validation data.
        class_weight: How much the classes count in a loss of integer labels: an array [K], a dict
            of some classes' weights, or `"balanced"`, so that all classes in an array of labels
            count alike, as in scikit-learn. As in PyTorch, the mean over a batch is divided by the
            sum of its weights.
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
        mesh: Devices to train on, as `jax.make_mesh((4,), ("data",))`; by default those of the
            parameters (see `Module.with_sharding`). Batches are split over its axis "data", or the
            first; those that the devices do not divide are computed whole on each. Of several
            processes all call `fit` alike (see docs/scaling.md).
        sharding: How parameters are split over the mesh, and with them the optimizer's state, their
            average and statistics; as for `Module.with_sharding`: specs by name, pattern or role,
            or "fsdp". By default as they are, if they are on the mesh, else on every device.
        seed: Decides the order of samples, which are held out, and what Dropout drops.
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

    Whatever is raised within the run, by a callback or by the data too, has an attribute `result`
    with what was trained until then.
    """
    check_arguments(locals(), FIT)
    require_module(module)
    if epochs is not None and steps is not None:
        raise ValueError("pass epochs or steps, not both")
    epochs = 1 if epochs is None and steps is None else epochs
    epochs, steps, batch_size, accumulate, seed, learning_rate, warmup, clip_norm = map(
        plain_number,
        (epochs, steps, batch_size, accumulate, seed, learning_rate, warmup, clip_norm),
    )
    weight_average = plain_number(weight_average)
    if validation is None and (metrics or patience or validate_every or monitor or min_delta):
        raise ValueError(
            "metrics, monitor, min_delta, patience and validate_every are about validation data:"
            " pass validation="
        )
    if checkpoint_every is not None and checkpoint is None:
        raise ValueError("checkpoint_every is about checkpoints: pass checkpoint=")
    outputs = as_names(outputs)
    placement = find_placement(module, mesh, sharding)
    if placement is ONE_DEVICE and jax.process_count() > 1:
        raise ValueError(
            f"there are {jax.process_count()} processes, and no mesh: pass"
            " mesh=jax.make_mesh((jax.device_count(),), ('data',)), so that they train one model"
        )
    module, progress = placement.module(module), progress and is_first()

    # What is read.
    reading = make_reading(module, rename, batch_axis, bucket)
    batches = as_batches(module, data, batch_size, shuffle=shuffle, seed=seed, reading=reading)
    held_out: ArrayBatches | StreamedBatches | None = None
    if is_number(validation):
        batches, held_out = hold_out(batches, validation)
    elif validation is not None:
        held_out = as_batches(module, validation, batch_size, reading=reading)
    if held_out and held_out.once and ((epochs or 1) > 1 or validate_every):
        raise ValueError(
            "validation is an iterator, which has its batches once: pass arrays, a dataset, or a"
            " list of batches"
        )
    length = steps
    if epochs is not None and batches.length is not None:
        length = epochs * batches.length
    if length and accumulate > length:
        raise ValueError(
            f"accumulate={accumulate} steps make one update, and there are {length}: nothing would"
            " be trained"
        )

    # What is made small, how, and what is measured.
    measure = with_class_weight(find_measure(loss, "loss", LOSSES), class_weight, batches)
    recipe = Recipe(optimizer, learning_rate, schedule, warmup, accumulate, clip_norm)
    # A loss that is a function may return further numbers.
    known = [METRIC, *names_of(metrics)] if known_loss(measure) else []
    watched = find_monitor(monitor, known, min_delta)
    falling = recipe.falling(Monitor("loss") if held_out is None else watched)
    rates = schedule if falling is None else str(falling)
    told = Callbacks(callbacks)
    if progress and in_notebook():
        told.members = [*told.members, Live()]
    computing = in_precision(module, compute_dtype, matmul_precision)
    settings = {
        "loss": name_of(measure),
        "learning_rate": None if callable(learning_rate) else learning_rate,
        "accumulate": accumulate,
        "clip_norm": clip_norm,
        "weight_average": weight_average,
        "compute_dtype": None if compute_dtype is None else str(jnp.dtype(compute_dtype)),
        "matmul_precision": asked_for(computing.program.matmul_precision),
        "seed": seed,
    }
    asked = {"schedule": rates, "batch_size": batch_size, "epochs": epochs, "steps": steps}

    with jax.numpy_dtype_promotion("standard"), double_precision(module), placement.in_force():
        task = find_task(
            module,
            measure,
            batches,
            choose_trained(module, train, roles, freeze),
            outputs=outputs,
            freeze_statistics=freeze_statistics,
            keep_zeros=keep_zeros,
            computing=computing,
        )
        where = None if checkpoint is None else os.fspath(checkpoint)
        require_alike(
            batches, task.batch, **settings, **asked, trained=task.trained, checkpoint=where
        )
        start = make_start(
            task,
            recipe,
            length,
            seed=seed,
            remat=remat,
            weight_average=weight_average,
            placement=placement,
        )
        loop = Loop(
            module,
            partial(task.divided.prepare, take=placement.take),
            placement.step(start.step, batches),
            start.state,
            start.frozen,
            batches,
            stacks=start.stacks,
            placement=start.placement,
            epochs=epochs,
            total=steps,
            validate_every=validate_every,
            monitor=watched,
            keep_best=patience is not None or monitor is not None,
            patience=patience,
            falling=falling,
            callbacks=told,
            settings={**settings, "optimizer": recipe.name, **asked},
            every=checkpoint_every,
            length=length,
        )
        if task.classes is not None and targets_at_hand(batches) is None:
            loop.take_step = with_checked_labels(loop, measure, task.classes)
        if held_out is not None:
            check_labels(measure, held_out, task.classes)
            evaluation = make_evaluation(
                computing.inference(), task.objective, metrics, outputs, placement
            )
            loop.evaluate = lambda params: as_data(evaluation(params, held_out))
        by_default = train is None and roles is None
        for note in notes_before(task, start, batches, outputs, weight_average, by_default):
            loop.history.note(note)

        with contextlib.ExitStack() as stack:
            if checkpoint is not None:
                loop.checkpoints = stack.enter_context(contextlib.closing(Checkpoints(checkpoint)))
                check_may_resume(loop.checkpoints, resume)
                loop.description = describe_run(
                    task, recipe, start, batches, held_out, watched, rates, length, **settings
                )
                if note := note_on_samples(batches, loop.description):
                    loop.history.note(note)
                go_on_after_stop(loop, partial(recipe.digest, task))
                measured = ({*known} if held_out else set()) if known else None
                for note in notes_after_stop(loop, measured):
                    loop.history.note(note)
            bar = ProgressBar(length, "compiling", "step", done=loop.step, shown=progress)
            if progress and loop.step and loop.finished():
                bar.say(f"nothing is trained: the run in '{checkpoint}' ended at step {loop.step}")
            try:
                result = loop.run(stack.enter_context(bar))
            except Exception as error:
                if not hasattr(error, "result"):  # as of the data
                    with contextlib.suppress(NonFiniteLossError):
                        loop.read()
                    error.result = loop.result_if_any()  # type: ignore[attr-defined]
                raise
            for note in filter(None, (start.step.note(reading), placement.note())):
                result.history.note(note)
            if loop.step > loop.begun and not any(result.history.steps["gradient_norm"]):
                result.history.note(
                    "the gradient was 0 in all steps: the loss does not change with what trains"
                )
            if rest := loop.step % accumulate:
                result.history.note(f"accumulate={accumulate}: no update by the last {rest} steps")
            return result


def check_may_resume(checkpoints: Checkpoints, resume: bool) -> None:
    """Raises ValueError if there are checkpoints, and the run is not to go on from them."""
    if not resume and checkpoints.steps:
        raise ValueError(
            f"'{checkpoints.folder}' has checkpoints of steps {checkpoints.steps}: resume from the"
            " last, or choose another folder"
        )
