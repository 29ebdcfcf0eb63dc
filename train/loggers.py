"""Loggers: callbacks of `fit` that write a run's numbers where other tools read them.

A run that goes on from a checkpoint goes on in its log, too: what was logged after that checkpoint
is taken out, since those steps are taken again.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onnxla.arguments import PATH
from onnxla.train.callbacks import Logger, TrainingRun

Row = dict[str, Any]
"""Numbers by name: `step`, and of an epoch `epoch`."""


class RowsInFile(Logger, ABC):
    """A logger with a row for each step, each epoch and each validation within one.

    A run that does not go on from a checkpoint begins the file anew.

    Args:
        path: The file. Folders that are missing are made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        PATH.check("path", path)
        self.path = Path(path)

    def start(self, run: TrainingRun) -> None:
        """Opens the file, with those rows that are of what was done before."""
        before = [row for row in self.read() if is_before(row, run)] if run.step else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rewrite(before)

    def step(self, step: int, logs: Mapping[str, float]) -> None:
        """Adds a step's row."""
        self.add({"step": step, **logs})

    def validation(self, step: int, logs: Mapping[str, float]) -> None:
        """Adds a validation's row."""
        self.add({"step": step, **logs})

    def epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds an epoch's row."""
        self.add({"step": int(logs["step"]), "epoch": epoch, **logs})

    def end(self, result: Any) -> None:
        """Closes the file."""
        self.file.close()

    def rewrite(self, rows: Iterable[Row]) -> None:
        """Puts rows in place of the file, all at once, and opens it for more."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(self.text(rows))
        new.replace(self.path)
        self.file = self.path.open("a", buffering=1)

    def complete_lines(self) -> str:
        """The file up to its last end of a line: a process may have been killed while it wrote."""
        text = self.path.read_text() if self.path.exists() else ""
        return text[: text.rfind("\n") + 1]

    @abstractmethod
    def add(self, row: Row) -> None:
        """Adds a row."""

    @abstractmethod
    def read(self) -> list[Row]:
        """The rows of the file."""

    @abstractmethod
    def text(self, rows: Iterable[Row]) -> str:
        """A file of rows."""


def is_before(row: Row, run: TrainingRun) -> bool:
    """Whether a row is of what was done before a run went on."""
    in_time = float(row["step"]) <= run.step
    return in_time and (row.get("epoch") in (None, "") or float(row["epoch"]) < run.epoch)


class JSONL(RowsInFile):
    """Logs to a file with a JSON object on each line.

    For example:

        logger = onnxla.loggers.JSONL("run.jsonl")
        onnxla.fit(module, (x, labels), "cross_entropy", callbacks=[logger])
    """

    def add(self, row: Row) -> None:
        """Adds a line."""
        self.file.write(self.text([row]))

    def read(self) -> list[Row]:
        """The objects of the file."""
        return [json.loads(line) for line in self.complete_lines().splitlines()]

    def text(self, rows: Iterable[Row]) -> str:
        """Objects as lines."""
        return "".join(f"{json.dumps(row)}\n" for row in rows)


class CSV(RowsInFile):
    """Logs to a table of comma-separated values; a cell that a row has no number for is empty.

    For example:

        logger = onnxla.loggers.CSV("run.csv")
        onnxla.fit(module, (x, labels), "cross_entropy", callbacks=[logger])
    """

    def add(self, row: Row) -> None:
        """Adds a line; a new column is a new table."""
        if row.keys() <= {*self.columns}:
            self.file.write(self.text([row], header=False))
        else:
            self.file.close()
            self.rewrite([*self.read(), row])

    def read(self) -> list[Row]:
        """The rows of the file, as texts."""
        return list(csv.DictReader(io.StringIO(self.complete_lines())))

    def text(self, rows: Iterable[Row], header: bool = True) -> str:
        """A table with all the columns that its rows have."""
        written, rows = io.StringIO(), list(rows)
        if header:
            self.columns = list(dict.fromkeys(["step", "epoch", *(k for row in rows for k in row)]))
        writer = csv.DictWriter(written, self.columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return written.getvalue()


class TensorBoard(Logger):
    """Logs to a folder that TensorBoard reads, with tensorboardX or TensorBoard's own writer.

    The mean loss of an epoch is `epoch_loss` there; all else has its own name.

    For example:

        logger = onnxla.loggers.TensorBoard("runs")
        onnxla.fit(module, (x, labels), "cross_entropy", callbacks=[logger])

    Args:
        folder: The folder.

    Raises:
        ImportError: Neither is installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        PATH.check("folder", folder)
        self.folder, self.open = str(folder), find_writer()

    def start(self, run: TrainingRun) -> None:
        """Begins a file; TensorBoard takes what is after the run's step out of those before."""
        self.writer = self.open(self.folder, run.step + 1 if run.step else None)

    def step(self, step: int, logs: Mapping[str, float]) -> None:
        """Adds a step's numbers."""
        for name, value in logs.items():
            if not isinstance(value, list):  # a matrix
                self.writer.add_scalar(name, value, step)

    def validation(self, step: int, logs: Mapping[str, float]) -> None:
        """Adds a validation's numbers. What was added is written, as a checkpoint follows."""
        self.step(step, logs)
        self.writer.flush()

    def epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds an epoch's numbers at its last step. What was added is written."""
        self.validation(int(logs["step"]), of_epoch(logs))

    def checkpoint(self, step: int, path: Path) -> None:
        """Writes what was added: a run may go on from here."""
        self.writer.flush()

    def end(self, result: Any) -> None:
        """Closes the file."""
        self.writer.close()


class WandB(Logger):
    """Logs to Weights & Biases; `mode="offline"` needs no account.

    For example:

        logger = onnxla.loggers.WandB(project="digits", mode="offline")
        onnxla.fit(module, (x, labels), "cross_entropy", callbacks=[logger])

    Args:
        **options: For `wandb.init`. A run that goes on from a checkpoint goes on in its log if it
            has the same `id` there, with `resume="allow"`.

    Raises:
        ImportError: It is not installed.
    """

    def __init__(self, **options: Any) -> None:
        try:
            self.wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise ImportError("WandB() needs wandb: pip install wandb") from error
        self.options = options

    def start(self, run: TrainingRun) -> None:
        """Begins a run whose configuration is what `fit` was asked for."""
        options = {**self.options, "config": {**run.settings, **self.options.get("config", {})}}
        self.run = self.wandb.init(**options)

    def step(self, step: int, logs: Mapping[str, float]) -> None:
        """Adds a step's numbers."""
        self.run.log(dict(logs), step=step)

    validation = step

    def epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds an epoch's numbers at its last step; the mean loss is `epoch_loss`."""
        self.step(int(logs["step"]), {"epoch": epoch, **of_epoch(logs)})

    def end(self, result: Any) -> None:
        """Ends the run."""
        self.run.finish()


def of_epoch(logs: Mapping[str, float]) -> dict[str, float]:
    """An epoch's numbers, beside those of its last step."""
    return {"epoch_loss" if k == "loss" else k: v for k, v in logs.items() if k != "step"}


def find_writer() -> Any:
    """A function of a folder and a step that opens a writer; what is from that step on is void.

    PyTorch's writer needs TensorBoard's, and so is none of its own.

    Raises:
        ImportError: There is none.
    """
    with contextlib.suppress(ImportError):
        writer = importlib.import_module("tensorboardX").SummaryWriter
        # It names a file by the second, and writes over one of that name. They are read by name.
        return lambda folder, purge: writer(
            folder, purge_step=purge, filename_suffix=f".{purge or 0:010}"
        )
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorboard.summary.writer.event_file_writer")
        return EventFile
    raise ImportError("TensorBoard() needs tensorboardX or tensorboard: pip install tensorboardX")


class EventFile:
    """An event file, written with the package `tensorboard` alone.

    Args:
        folder: Where.
        purge: The step from which on that what other files have is void.
    """

    def __init__(self, folder: str, purge: int | None = None) -> None:
        self.events = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self.summaries = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        writers = importlib.import_module("tensorboard.summary.writer.event_file_writer")
        self.file = writers.EventFileWriter(folder)
        if purge is not None:
            started = self.events.SessionLog(status=self.events.SessionLog.START)
            self.add(step=purge, session_log=started)

    def add(self, **event: Any) -> None:
        """Adds an event that is of now."""
        self.file.add_event(self.events.Event(wall_time=time.time(), **event))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a number."""
        one = self.summaries.Summary.Value(tag=name, simple_value=value)
        self.add(step=step, summary=self.summaries.Summary(value=[one]))

    def flush(self) -> None:
        """Writes what was added."""
        self.file.flush()

    def close(self) -> None:
        """Writes what was added, and closes the file."""
        self.file.close()
