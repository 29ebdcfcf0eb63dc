"""The command `onnxla finetune`: trains a model on arrays in a file, and saves it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from onnxla.commands.array_files import read_array
from onnxla.commands.numbers import positive, whole
from onnxla.commands.results import keep_result, save_result
from onnxla.ir.claims import check_target
from onnxla.module import Module, load
from onnxla.train.batches import as_batches
from onnxla.train.checkpoints import CheckpointError
from onnxla.train.evaluation import evaluate
from onnxla.train.fitting import fit
from onnxla.train.loop import FitResult, TrainingInterrupted
from onnxla.train.losses import LOSSES
from onnxla.train.optimizer import LEARNING_RATE

DESCRIPTION = """\
Trains a model and saves it as ONNX, with the same nodes, names and metadata. The data is an .npz
file with an array for each input, by the input's name, and one more, of any name such as "target",
which the loss compares with the model's output. The first axis of all counts the samples."""


# Losses of more than one output, or of more than one array of targets.
SEVERAL = {"distillation", "triplet"}
# Losses of integer labels, beside which the accuracy is told.
OF_CLASSES = {"cross_entropy", "cross_entropy_probabilities", "focal"}


def add_finetune(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "finetune", help="train a model on your data, and save it as ONNX", description=DESCRIPTION
    )
    add = command.add_argument
    add("file", type=Path, metavar="FILE")
    add("--data", type=Path, required=True, metavar="NPZ", help="what to train on")
    choices = sorted(LOSSES.keys() - SEVERAL)
    add("--loss", required=True, choices=choices, help="what to make small")
    add("--out", type=Path, required=True, metavar="FILE", help="where the tuned model goes")
    add("--validation", type=Path, metavar="NPZ", help="what to evaluate on, made like the data")
    add("--output", metavar="NAME", help="the output that the loss is of, if there are several")
    length = command.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs", type=whole(1), metavar="N", help="passes over the data (default: 1)"
    )
    length.add_argument("--steps", type=whole(1), metavar="N", help="batches to train on, instead")
    add("--batch-size", type=whole(1), default=32, metavar="N", help="default: %(default)s")
    add(
        "--learning-rate",
        type=positive,
        metavar="RATE",
        help=f"the largest of AdamW (default: {LEARNING_RATE:g})",
    )
    add("--clip-norm", type=positive, metavar="NORM", help="largest norm of a gradient")
    add(
        "--accumulate",
        type=whole(1),
        default=1,
        metavar="N",
        help="batches for one update (default: 1)",
    )
    add("--patience", type=whole(1), metavar="N", help="stop after N epochs without a better one")
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
    add("--bfloat16", action="store_true", help="compute products in bfloat16")
    add("--checkpoint", type=Path, metavar="FOLDER", help="where checkpoints go")
    add(
        "--checkpoint-every",
        type=whole(1),
        metavar="N",
        help="steps between them, beside each epoch's",
    )
    add("--resume", action="store_true", help="go on from the last checkpoint in the folder")
    add("--plot", type=Path, metavar="PNG", help="draw the loss")
    add("--seed", type=whole(0), default=0, help="default: %(default)s")
    add("--quiet", action="store_true", help="no progress bar")
    command.set_defaults(command=run_finetune)


def run_finetune(arguments: argparse.Namespace) -> int:
    """`onnxla finetune`."""
    if arguments.resume and arguments.checkpoint is None:
        raise ValueError("--resume goes on from the last checkpoint in a folder: pass --checkpoint")
    for path in (arguments.out, arguments.plot):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"there is no folder '{path.parent}' for '{path.name}'")
        if path is not None:
            check_target(path)
    module = load(arguments.file)
    data = read_data(module, arguments.data)
    validation = None if arguments.validation is None else read_data(module, arguments.validation)
    held_out = data if validation is None else validation
    sample, _ = as_batches(module, held_out, arguments.batch_size).first()
    metrics = ["accuracy"] if arguments.loss in OF_CLASSES else []
    outputs = None if arguments.output is None else [arguments.output]

    def measure(when: str, module: Module) -> None:
        options = {"batch_size": arguments.batch_size, "outputs": outputs}
        print_measured(when, evaluate(module, held_out, arguments.loss, metrics, **options))

    try:
        result = train(module, data, validation, metrics, arguments, measure)
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
    print(result.history)
    print(f"saved {arguments.out}" + ("; ONNX Runtime's outputs agree" if checking else ""))
    measure("after", result.module)
    if arguments.plot is not None:
        result.history.plot().savefig(arguments.plot)
        print(f"drawn {arguments.plot}")
    return 0


def train(
    module: Module,
    data: Mapping[str, np.ndarray],
    validation: Mapping[str, np.ndarray] | None,
    metrics: Sequence[str],
    arguments: argparse.Namespace,
    measure: Callable[[str, Module], None],
) -> FitResult:
    """Trains as the command line says, and measures before."""
    names = arguments.train
    if arguments.lora is not None:
        module, names = module.lora(*names, rank=arguments.lora), []
    print(module)
    measure("before", module)
    return fit(
        module,
        data,
        arguments.loss,
        epochs=arguments.epochs,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        train=names or None,
        freeze=arguments.freeze,
        freeze_statistics=arguments.freeze_statistics,
        keep_zeros=arguments.keep_zeros,
        outputs=None if arguments.output is None else [arguments.output],
        learning_rate=arguments.learning_rate,
        accumulate=arguments.accumulate,
        clip_norm=arguments.clip_norm,
        validation=validation,
        metrics=metrics if validation is not None else [],
        patience=arguments.patience,
        compute_dtype="bfloat16" if arguments.bfloat16 else None,
        seed=arguments.seed,
        checkpoint=arguments.checkpoint,
        checkpoint_every=arguments.checkpoint_every,
        resume=arguments.resume,
        progress=not arguments.quiet,
    )


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


def print_measured(when: str, measured: Mapping[str, float]) -> None:
    """Prints losses and metrics."""
    print(f"{when}: " + ", ".join(f"{name} {value:.6g}" for name, value in measured.items()))
