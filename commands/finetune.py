"""The command `onnxla finetune`: trains a model on arrays in a file, and saves it."""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from onnxla.commands.array_files import read_array
from onnxla.commands.json_values import printed
from onnxla.commands.numbers import positive, share, whole
from onnxla.commands.results import keep_result, save_result
from onnxla.ir.claims import check_target
from onnxla.ir.names import quoted
from onnxla.module import Module, load
from onnxla.train.batches import as_batches
from onnxla.train.checkpoints import CheckpointError
from onnxla.train.evaluation import evaluate
from onnxla.train.fitting import fit
from onnxla.train.held_out import hold_out
from onnxla.train.labels import balanced
from onnxla.train.loggers import CSV, JSONL, TensorBoard
from onnxla.train.loop import TrainingInterrupted
from onnxla.train.losses import LOSSES
from onnxla.train.metrics import METRICS
from onnxla.train.optimizer import DEFAULT, LEARNING_RATE
from onnxla.train.recipe import PLATEAU, WARMUP
from onnxla.train.schedules import SCHEDULES

DESCRIPTION = """\
Trains a model and saves it as ONNX, with the same nodes, names and metadata. The data is an .npz
file with an array for each input, by the input's name, and one more, of any name such as "target",
which the loss compares with the model's output. The first axis of all counts the samples."""


# Losses of more than one output, or of more than one array of targets.
SEVERAL = {"distillation", "triplet"}
# Losses of integer labels, beside which the accuracy is told.
OF_CLASSES = {"cross_entropy", "cross_entropy_probabilities", "focal"}
LOGGERS: dict[str, Callable[[Any], Any]] = {"csv": CSV, "jsonl": JSONL, "tensorboard": TensorBoard}
# Options that are arguments of `fit` of the same name.
PASSED = (
    *("epochs", "steps", "optimizer", "learning_rate", "schedule", "warmup", "clip_norm", "seed"),
    *("accumulate", "weight_average", "freeze", "freeze_statistics", "keep_zeros", "monitor"),
    *("patience", "validate_every", "checkpoint", "checkpoint_every", "resume"),
)
# Options without which others mean nothing, and what to say then.
NEEDED = {
    "checkpoint": ("resume", "checkpoint_every"),
    "validation": ("monitor", "patience", "min_delta", "validate_every"),
}
NEEDED_FOR = {
    "checkpoint": "is about a folder of checkpoints: pass --checkpoint",
    "validation": "is about validation data: pass --validation",
}


def add_finetune(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "finetune", help="train a model on your data, and save it as ONNX", description=DESCRIPTION
    )
    add = command.add_argument
    add("file", type=Path, metavar="FILE")
    add("--out", type=Path, required=True, metavar="FILE", help="where the tuned model goes")
    add("--force", action="store_true", help="replace what is there")
    add("--quiet", action="store_true", help="no progress bar")
    add("--json", action="store_true", help="print a JSON document, when all is done")
    add_data(command.add_argument_group("data and loss"))
    add_training(command.add_argument_group("training"))
    add_parameters(command.add_argument_group("what trains"))
    add_validation(command.add_argument_group("validation and the best parameters"))
    add_records(command.add_argument_group("checkpoints and records"))
    command.set_defaults(command=run_finetune)


def add_data(group: Any) -> None:
    """Options of what is read, and of what is made small."""
    add = group.add_argument
    add("--data", type=Path, required=True, metavar="NPZ", help="what to train on")
    choices = sorted(LOSSES.keys() - SEVERAL)
    add("--loss", required=True, choices=choices, metavar="NAME", help=f"one of {of(choices)}")
    add("--output", metavar="NAME", help="the output that the loss is of, if there are several")
    add(
        "--class-weight",
        type=class_weights,
        metavar="WEIGHTS",
        help="how much classes count: balanced, or as 0=1,1=4.5 (default: all alike)",
    )
    add(
        "--bucket",
        type=multiple,
        action="append",
        default=[],
        metavar="NAME=N",
        help="pad a symbolic dimension to multiples of N; repeatable",
    )
    add("--batch-size", type=whole(1), default=32, metavar="N", help="default: %(default)s")


def add_training(group: Any) -> None:
    """Options of how many steps there are, and of how they are made."""
    length = group.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs", type=whole(1), metavar="N", help="passes over the data (default: 1)"
    )
    length.add_argument("--steps", type=whole(1), metavar="N", help="batches to train on, instead")
    add = group.add_argument
    add("--optimizer", metavar="NAME", help=f"one of optax's, as sgd or lion (default: {DEFAULT})")
    add(
        "--learning-rate",
        type=positive,
        metavar="RATE",
        help=f"the largest (default: {LEARNING_RATE:g} for {DEFAULT} and those akin to it)",
    )
    schedules = [*SCHEDULES, PLATEAU]
    add(
        "--schedule",
        choices=schedules,
        metavar="NAME",
        help=f"of the learning rate: {of(schedules)} (default: cosine)",
    )
    add(
        "--warmup",
        type=share,
        metavar="SHARE",
        help=f"of the steps, in which the learning rate rises (default: {WARMUP:g})",
    )
    add("--clip-norm", type=positive, metavar="NORM", help="largest norm of a gradient")
    add(
        "--accumulate",
        type=whole(1),
        default=1,
        metavar="N",
        help="batches for one update (default: 1)",
    )
    add(
        "--weight-average",
        type=share,
        metavar="DECAY",
        help="of a moving average of the weights, which is the result, such as 0.999",
    )
    add("--bfloat16", action="store_true", help="compute products in bfloat16")
    add("--seed", type=whole(0), default=0, help="default: %(default)s")


def add_parameters(group: Any) -> None:
    """Options of which parameters train."""
    add = group.add_argument
    for name, meaning in (
        ("train", "parameters to train, by name or pattern (default: learned weights)"),
        ("freeze", "parameters not to train"),
        ("freeze-statistics", "running statistics to keep"),
    ):
        add(f"--{name}", action="append", default=[], metavar="GLOB", help=f"{meaning}; repeatable")
    add("--keep-zeros", action="store_true", help="zeros of a pruned model's weights stay zero")
    add(
        "--lora",
        type=whole(1),
        metavar="RANK",
        help="train low-rank updates, of the weights that --train names or of all matrices",
    )


def add_validation(group: Any) -> None:
    """Options of what is measured beside the training, and what follows from it."""
    add = group.add_argument
    add(
        "--validation",
        type=validation,
        metavar="NPZ|SHARE",
        help="what to evaluate on, made like the data; or a share of it to hold out, such as 0.2",
    )
    add(
        "--metrics",
        action="append",
        choices=sorted(METRICS),
        metavar="NAME",
        help="what to measure, such as accuracy, f1 or auc (default: accuracy, of classes);"
        " repeatable",
    )
    add(
        "--validate-every",
        type=whole(1),
        metavar="N",
        help="steps between validations, beside each epoch's",
    )
    add(
        "--monitor",
        metavar="NAME",
        help="the metric, or loss, whose best parameters are the result",
    )
    add("--min-delta", type=positive, metavar="N", help="by how much the best has to be better")
    add(
        "--patience",
        type=whole(1),
        metavar="N",
        help="stop after N validations without a better one; the result is the best",
    )


def add_records(group: Any) -> None:
    """Options of what a run writes besides its result."""
    add = group.add_argument
    add("--checkpoint", type=Path, metavar="FOLDER", help="where checkpoints go")
    add(
        "--checkpoint-every",
        type=whole(1),
        metavar="N",
        help="steps between them, beside each epoch's",
    )
    add("--resume", action="store_true", help="go on from the last checkpoint in the folder")
    add(
        "--logger",
        type=logger,
        action="append",
        default=[],
        metavar="KIND[=PATH]",
        help=f"write each step's numbers: {of(LOGGERS)} (default path: beside --out); repeatable",
    )
    add("--plot", type=Path, metavar="PNG", help="draw the loss")


def of(names: Iterable[str]) -> str:
    """Names in a line of help."""
    return ", ".join(names)


def validation(text: str) -> float | Path:
    """A share, if it is a number, or the path of a file."""
    try:
        float(text)
    except ValueError:
        return Path(text)
    return share(text)


def multiple(text: str) -> tuple[str, int]:
    """`NAME=N` as a pair."""
    name, _, number = text.rpartition("=")
    if not name:
        raise ArgumentTypeError(f"takes NAME=N, got {quoted(text)}")
    return name, whole(1)(number)


def class_weights(text: str) -> str | dict[int, float]:
    """`balanced`, or the weights of some classes: `0=1,1=4.5`."""
    if text == "balanced":
        return text
    pairs = [each.partition("=")[::2] for each in text.split(",")]
    return {whole(0)(name): positive(number) for name, number in pairs}


def logger(text: str) -> tuple[str, str]:
    """`KIND` or `KIND=PATH` as a pair."""
    kind, _, path = text.partition("=")
    if kind not in LOGGERS:
        raise ArgumentTypeError(f"is one of {of(LOGGERS)}, got {quoted(kind)}")
    return kind, path


def run_finetune(arguments: argparse.Namespace) -> int:
    """`onnxla finetune`."""
    check_options(arguments)
    for path in (arguments.out, arguments.plot):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"there is no folder '{path.parent}' for '{path.name}'")
        if path is not None:
            check_target(path)
    check_out(arguments)
    loggers = [
        LOGGERS[kind](path or arguments.out.with_suffix(f".{kind}"))
        for kind, path in arguments.logger
    ]
    module = load(arguments.file)
    data = read_data(module, arguments.data)
    validation = arguments.validation
    if isinstance(validation, Path):
        validation = read_data(module, validation)
    measured = data_to_measure(module, data, validation, arguments.seed)
    class_weight = arguments.class_weight
    if class_weight == "balanced":
        class_weight = balanced(next(data[name] for name in data if name not in module.input_names))
    sample, _ = as_batches(module, measured, arguments.batch_size).first()
    metrics = arguments.metrics or (["accuracy"] if arguments.loss in OF_CLASSES else [])
    shared: dict[str, Any] = {
        "batch_size": arguments.batch_size,
        "outputs": None if arguments.output is None else [arguments.output],
        "class_weight": class_weight,
        "bucket": dict(arguments.bucket),
    }

    record: dict[str, Any] = {"out": str(arguments.out)}
    say = no_output if arguments.json else print

    def measure(when: str, module: Module) -> None:
        found = evaluate(
            module, measured, arguments.loss, metrics, progress=not arguments.quiet, **shared
        )
        record[when] = as_record(found)
        say(measured_text(when, found))

    names = arguments.train
    if arguments.lora is not None:
        module, names = module.lora(*names, rank=arguments.lora), []
    say(module)
    measure("before", module)
    try:
        result = fit(
            module,
            data,
            arguments.loss,
            train=names or None,
            validation=validation,
            metrics=metrics if validation is not None else [],
            callbacks=loggers,
            compute_dtype="bfloat16" if arguments.bfloat16 else None,
            min_delta=arguments.min_delta or 0.0,
            progress=not arguments.quiet,
            **shared,
            **{name: getattr(arguments, name) for name in PASSED},
        )
    except TrainingInterrupted as stopped:
        print(f"onnxla: {stopped}", file=sys.stderr)
        if arguments.checkpoint is not None:
            print("the same command with --resume goes on from there", file=sys.stderr)
        return 130
    except CheckpointError as error:
        if error.result is not None:
            keep_result(error.result.module, arguments.out)
        raise
    checking = find_spec("onnxruntime") is not None
    save_result(result.module, arguments.out, check=sample if checking else False)
    say(result.history)
    say(f"saved {arguments.out}" + ("; ONNX Runtime's outputs agree" if checking else ""))
    measure("after", result.module)
    if arguments.plot is not None:
        result.history.plot().savefig(arguments.plot)
        say(f"drawn {arguments.plot}")
    if arguments.json:
        print(printed({**record, "agrees": checking or None, "history": asdict(result.history)}))
    return 0


def no_output(*values: object) -> None:
    """Prints nothing, as `--json` prints one document at the end."""


def check_options(arguments: argparse.Namespace) -> None:
    """Raises ValueError where an option needs another one."""
    for needed, names in NEEDED.items():
        found = [name for name in names if getattr(arguments, name)]
        if found and getattr(arguments, needed) is None:
            raise ValueError(f"--{found[0].replace('_', '-')} {NEEDED_FOR[needed]}")


def check_out(arguments: argparse.Namespace) -> None:
    """Raises ValueError where the result would replace a file that is needed, or not expected."""
    out = arguments.out
    if not out.exists():
        return
    for path in (arguments.file, arguments.data, arguments.validation):
        if isinstance(path, Path) and path.exists() and out.samefile(path):
            raise ValueError(f"--out '{out}' is what the run reads: name another file")
    if not arguments.force:
        raise ValueError(f"--out '{out}' is there already: name another file, or pass --force")


def data_to_measure(
    module: Module, data: Mapping[str, np.ndarray], validation: Any, seed: int
) -> Any:
    """What is measured before and after: validation data, the share held out, or all data."""
    if isinstance(validation, float):
        _, held_out = hold_out(as_batches(module, data, 1, seed=seed), validation)
        return held_out.samples.take(np.arange(len(held_out.samples)))
    return data if validation is None else validation


def read_data(module: Module, path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file: the inputs', and one more.

    Raises:
        ValueError: The file has others.
    """
    data = read_array(path)
    if not isinstance(data, Mapping):
        raise ValueError(f"'{path}' holds one array; an .npz file has them by name")
    targets = [name for name in data if name not in module.input_names]
    missing = [name for name in module.input_names if name not in data]
    if missing or len(targets) != 1:
        raise ValueError(
            f"'{path}' has the arrays {', '.join(data)}; the model takes "
            f"{', '.join(module.input_names)}, and the loss one more, such as 'target'"
        )
    return dict(data)


def as_record(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Losses and metrics as JSON has them."""
    return {name: np.asarray(value).tolist() for name, value in measured.items()}


def measured_text(when: str, measured: Mapping[str, Any]) -> str:
    """Losses and metrics in a line."""

    def shown(value: Any) -> str:
        return str(value.tolist()) if isinstance(value, np.ndarray) else f"{value:.6g}"

    return f"{when}: " + ", ".join(f"{name} {shown(value)}" for name, value in measured.items())
