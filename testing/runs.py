"""Runs over many operators: in several processes, kept in a file so that they can go on."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from onnxla.ctrl_c import ctrl_c
from onnxla.ir.names import quoted
from onnxla.ops import lookup
from onnxla.ops.table import full_name
from onnxla.peers.command import CommandRuntime
from onnxla.peers.protocol import Runtime
from onnxla.peers.runtimes import find_runtime
from onnxla.testing.fuzzing import INTERRUPTED, LATE, WAYS, Fuzzed, fuzz, fuzz_cases
from onnxla.testing.operator_cases import STRATEGIES, operators
from onnxla.testing.outcomes import Outcome, judges_of
from onnxla.testing.random_graphs import graphs

GRAPHS = ("", "graphs")  # in the place of an operator


@dataclass(frozen=True)
class FuzzPlan:
    """What decides the results of an operator.

    Attributes:
        runtime: What is tested, as on the command line.
        against: Who judges, likewise; `JUDGES` if empty.
        examples: Cases of each operator.
        seed: What they are drawn from.
        most: How many findings of an operator are searched for.
        database: A folder for cases that fail; see `fuzz_cases`.
        drawn: Options of `cases`; or of `graphs`, if graphs are run.
        python: See `find_runtime`, as for `timeout` and `memory`: of what is tested.
    """

    runtime: str = "onnxla"
    against: tuple[str, ...] = ()
    examples: int = 100
    seed: int = 0
    most: int = 8
    database: str | None = None
    drawn: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    timeout: float | None = None
    memory: int | None = None

    @functools.cached_property  # the same one for all operators: it may have a process
    def tested(self) -> Runtime:
        """What is tested. Raises: ValueError if there is no such runtime."""
        return find_runtime(self.runtime, self.python, self.timeout, self.memory)

    @property
    def names(self) -> Sequence[str]:
        """Who judges, by name."""
        judges = self.judges
        return [judges] if isinstance(judges, str) else [judge.name for judge in judges]

    @functools.cached_property
    def judges(self) -> list[Runtime] | str:
        """Who judges, or one of `WAYS`.

        Raises:
            ValueError: There is no runtime of a name, or one of `WAYS` is not alone.
        """
        if len(self.against) == 1 and self.against[0] in WAYS:
            return self.against[0]
        if ways := [each for each in self.against if each in WAYS]:
            raise ValueError(f"'{ways[0]}' is no runtime that judges, and stands alone")
        return judges_of(list(map(find_runtime, self.against)) or None, self.tested)

    def fuzz(self, operator: tuple[str, str], until: float | None = None, **further: Any) -> Fuzzed:
        """Runs the cases of an operator, by its domain and name, or graphs."""
        domain, op_type = operator
        options: dict[str, Any] = {
            "runtime": self.tested,
            "against": self.judges,
            "examples": self.examples,
            "seed": self.seed,
            "most": self.most,
            "database": self.database,
            "until": until,
            **further,
        }
        if operator == GRAPHS:
            return fuzz_cases(graphs(**self.drawn), "graphs", **options)
        return fuzz(op_type, domain=domain, **self.drawn, **options)

    def digest(self, operator: tuple[str, str]) -> str:
        """A hash of the source files that decide the results of an operator."""
        judges = self.judges
        runtimes = [self.tested, *([] if isinstance(judges, str) else judges)]
        files = {source_of(runtime) for runtime in runtimes}
        if operator != GRAPHS:
            found = (lookup(*operator, version) for version in operators()[operator])
            functions = [each.function for each in found if each is not None]
            files |= {file_of(each) for each in (STRATEGIES[operator], *functions)}
        texts = (Path(file).read_bytes() for file in sorted(files))
        return hashlib.sha256(b"".join(texts)).hexdigest()


def file_of(thing: Any) -> str:
    """The source file of a class or a function."""
    return inspect.getfile(inspect.unwrap(thing))


def source_of(runtime: Runtime) -> str:
    """The file of a runtime: of the class, of the file that another process runs, or a program."""
    if isinstance(runtime, CommandRuntime):
        return shutil.which(runtime.words[0]) or file_of(CommandRuntime)
    inner = getattr(runtime, "runtime", runtime)
    if isinstance(inner, str):
        file, colon, _ = inner.partition(".py:")
        return f"{file}.py" if colon else file_of(importlib.import_module(inner.partition(":")[0]))
    return file_of(type(inner))


def operator_of(name: str) -> tuple[str, str]:
    """Domain and name of an operator, from the name in full."""
    domain, _, op_type = name.rpartition(".")
    return domain, op_type


class CommonState:
    """What the processes of a run have in common: how many cases were run, and whether it ends."""

    def __init__(self, context: SpawnContext) -> None:
        self.cases = context.Value("l", 0)
        self.ends = context.Event()

    def adopt(self) -> None:
        """Makes it that of this process, whose Ctrl-C is the business of the one above."""
        global shared
        shared = self
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def count(self, outcome: Outcome) -> None:
        """Counts a case as run."""
        with self.cases.get_lock():
            self.cases.value += 1


shared: CommonState  # of a worker


def in_process(plan: FuzzPlan, operator: tuple[str, str], clock: float | None) -> dict[str, Any]:
    """What came of an operator, as a worker returns it; `clock` is the time when it must end."""
    until = None if clock is None else time.monotonic() + clock - time.time()
    found = plan.fuzz(operator, until, progress=shared.count, pressed=shared.ends.is_set)
    return found.record()


@dataclass
class FuzzRun:
    """A run over operators.

    Attributes:
        plan: What is run of each.
        chosen: Domain and name of the operators, in order.
        results: A file that keeps what came of each, a line of JSON each; the run goes on from it.
        workers: How many processes there are.
        until: The time (`time.monotonic`) at which no further case is run.
        changed: Whether operators are run again whose source files are others than before.
    """

    plan: FuzzPlan
    chosen: Sequence[tuple[str, str]]
    results: Path | None = None
    workers: int = 1
    until: float | None = None
    changed: bool = False

    def __post_init__(self) -> None:
        self.done: dict[str, Fuzzed] = {}
        if self.results is not None and self.results.exists():
            self.read(self.results)
        elif self.results is not None:
            self.results.write_text(json.dumps({"plan": asdict(self.plan)}) + "\n")

    @property
    def left(self) -> list[tuple[str, str]]:
        """The operators that have no result yet."""
        return [each for each in self.chosen if full_name(each[1], each[0]) not in self.done]

    def read(self, path: Path) -> None:
        """Takes over the results that a file has.

        Raises:
            ValueError: They are those of another plan, or the file is none of results, or damaged.
        """
        try:
            # The last line may have been cut off.
            whole, _, cut = path.read_text("utf-8").rpartition("\n")
            first, *rest = whole.splitlines()
            before = dict(json.loads(first)["plan"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{quoted(path)} is no file of results") from None
        now = json.loads(json.dumps(asdict(self.plan)))
        if other := [f"{k} was {before.get(k)!r}" for k in now if before.get(k) != now[k]]:
            raise ValueError(f"{quoted(path)} is of another run: {', '.join(other)}")
        for number, line in enumerate(rest, 2):
            try:
                record = json.loads(line)
                digest, result = record.pop("digest"), Fuzzed.of_record(record)
            except Exception:  # whatever wrong bytes make of a reader
                text = f"line {number} of {quoted(path)} is damaged"
                raise ValueError(f"{text}: without it, its operator is run again") from None
            if not self.changed or digest == self.plan.digest(operator_of(result.name)):
                self.done[result.name] = result
        if cut:
            path.write_text(f"{whole}\n", "utf-8")

    def keep(self, result: Fuzzed) -> None:
        """Takes a result, and writes it if it is that of all cases."""
        self.done[result.name] = result
        if self.results is not None and result.cut not in (LATE, INTERRUPTED):
            digest = self.plan.digest(operator_of(result.name))
            with self.results.open("a") as file:
                file.write(json.dumps({**result.record(), "digest": digest}) + "\n")

    def __call__(
        self, each: Callable[[Fuzzed], Any], advance: Callable[[int], Any] = lambda n: None
    ) -> list[Fuzzed]:
        """Runs the operators that are left, until it is interrupted or time is over.

        Args:
            each: Called with each new result.
            advance: Called with how many cases have been run.

        Returns:
            All results, those of the file too, in the order of the operators.

        Raises:
            ValueError: Another run writes the file now.
        """
        with nullcontext() if self.results is None else held(self.results):
            for result in self.several(advance) if self.workers > 1 else self.one_by_one(advance):
                if result.counts or not result.cut:  # else it was not reached
                    self.keep(result)
                    each(result)
        names = (full_name(op_type, domain) for domain, op_type in self.chosen)
        return [self.done[name] for name in names if name in self.done]

    def one_by_one(self, advance: Callable[[int], Any]) -> Iterator[Fuzzed]:
        """The results of the operators that are left, from this process."""
        for operator in self.left:
            if self.until is not None and time.monotonic() > self.until:
                return
            with ctrl_c() as pressed:
                result = self.plan.fuzz(
                    operator,
                    self.until,
                    progress=lambda outcome: advance(1),
                    pressed=pressed.is_set,
                )
            yield result
            if result.cut == INTERRUPTED:
                return

    def several(self, advance: Callable[[int], Any]) -> Iterator[Fuzzed]:
        """The results of the operators that are left, from several processes, as they come."""
        # A fork of JAX's threads could lock up.
        context = multiprocessing.get_context("spawn")
        common, seen = CommonState(context), 0
        pool = ProcessPoolExecutor(self.workers, context, initializer=common.adopt)
        clock = None if self.until is None else time.time() + self.until - time.monotonic()
        plan = replace(self.plan)  # without the runtimes that this process has
        with pool, ctrl_c(common.ends.set):
            tasks = {pool.submit(in_process, plan, each, clock) for each in self.left}
            while tasks:
                done, tasks = wait(tasks, timeout=0.2, return_when=FIRST_COMPLETED)
                advance((now := common.cases.value) - seen)
                seen = now
                yield from (Fuzzed.of_record(task.result()) for task in done)
                if common.ends.is_set():
                    tasks = {task for task in tasks if not task.cancel()}


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keeps a file for this run, where the system has locks. Raises: ValueError if another has it.

    The lock goes with the process, however that ends.
    """
    try:
        import fcntl
    except ImportError:  # on Windows
        yield
        return
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{quoted(path)} is written by another run now") from None
        yield


def shard(chosen: Sequence[tuple[str, str]], text: str) -> list[tuple[str, str]]:
    """One of several parts of the operators, as `2/5` says: each in one part, by turns.

    Raises:
        ValueError: There is no such part.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"a part is a number of how many, such as 1/4, got {quoted(text)}")
    return list(chosen[int(number) - 1 :: int(count)])
