"""Saving: which files go, what an interrupt or a kill leaves, and how much memory it takes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxla import ir
from onnxla.edit.adapter_files import replace_file
from onnxla.ir import claims
from onnxla.ir.claims import check_target, claim
from onnxla.ir.onnx_pb2 import ModelProto, TensorProto
from onnxla.ir.superseded import trailer

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (64, 100)


def model_of(number: float) -> ir.Model:
    """Two tensors, each large, of one number."""
    array = np.full(SHAPE, number, np.float32)
    tensors = (ir.Tensor.of("v", array), ir.Tensor.of("w", array))
    return ir.Model(ir.Graph((), initializers=tensors), {"": 20}, ir_version=9)


def number_of(path: Path) -> float:
    """The number that a file's tensors are made of."""
    (number,) = {*np.concatenate([t.numpy().ravel() for t in ir.read(path).graph.initializers])}
    return float(number)


def save_external(path: Path, number: float) -> Path:
    """Saves a model with its data beside it. Returns the data file."""
    before = {*path.parent.glob("*.data")}
    ir.save(model_of(number), path, external_data=True)
    (data,) = {*path.parent.glob("*.data")} - before
    return data


def names_data(path: Path, location: str) -> None:
    """Writes a model that says its data is at `location`."""
    model = ModelProto.FromString(ir.write(model_of(1)))
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


# Which files go


def test_data_of_the_replaced_model_goes_with_it(path: Path) -> None:
    first = save_external(path, 1)
    second = save_external(path, 2)
    assert not first.exists()
    assert number_of(path) == 2
    ir.save(model_of(3), path)
    assert not second.exists()
    assert os.listdir(path.parent) == ["model.onnx"]


@pytest.mark.parametrize(
    "name", ["thesis.docx", "model.onnx.data", "model.onnx.0123456789ab.data", "data/w.bin"]
)
def test_a_file_that_the_old_model_names_stays_and_is_told(path: Path, name: str) -> None:
    names_data(path, name)
    other = path.parent / name
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(bytes(60_000))
    with pytest.warns(UserWarning, match=name):
        ir.save(ir.read(path), path)
    assert other.read_bytes() == bytes(60_000)


@pytest.mark.parametrize("location", ["/etc/hostname", "../thesis.docx", "no/such/file", "a" * 300])
def test_nothing_is_told_of_what_is_not_beside_it(path: Path, location: str) -> None:
    names_data(path, location)
    ir.save(model_of(2), path)
    assert os.listdir(path.parent) == ["model.onnx"]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("model.onnx.0123456789ab.data", b""),
        ("model.onnx.0123456789ab.data", trailer(Path("other.onnx.0123456789ab.data"))),
        ("model.onnx.0123456789ab.data", trailer(Path("model.onnx.ab0123456789.data")) + b"\n"),
        ("other.onnx.0123456789ab.data", trailer(Path("model.onnx.0123456789ab.data"))),
        ("other.onnx.0123456789ab.data", trailer(Path("other.onnx.0123456789ab.data"))),
        ("model.onnx.data", trailer(Path("model.onnx.data"))),
        ("thesis.docx", trailer(Path("thesis.docx"))),
    ],
)
def test_a_forged_mark_removes_nothing(path: Path, name: str, end: bytes) -> None:
    """Neither with a model of the target that names the file, nor without."""
    forged = path.with_name(name)
    forged.write_bytes(bytes(60_000) + end)
    save_external(path, 1)
    names_data(path, name)
    with pytest.warns(UserWarning, match=name):
        ir.save(model_of(2), path)
    assert forged.read_bytes() == bytes(60_000) + end


@pytest.mark.parametrize("copy", ["model.onnx.bak", "other.onnx", "archive/model.onnx", "link"])
def test_data_that_another_model_names_stays(path: Path, copy: str) -> None:
    data = save_external(path, 1)
    other = path.parent / copy
    other.parent.mkdir(exist_ok=True)
    if copy == "link":
        shutil.copy(path, path.parent / "there")
        other.symlink_to(path.parent / "there")
    else:
        shutil.copy(path, other)
    for number in (2, 3):
        save_external(path, number)
        assert data.exists()
        assert len(list(path.parent.glob("*.data"))) == 2
    shutil.move(other, path)
    assert number_of(path) == 1
    ir.save(model_of(4), path.parent / "another.onnx", external_data=True)
    assert data.exists()


def test_a_file_that_cannot_be_read_may_need_all_data(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = save_external(path, 1)
    secret = path.with_name("secret")
    secret.write_bytes(b"")
    real = open

    def refusing(name: object, *args: object) -> object:
        if name == secret:
            raise PermissionError(13, "Permission denied", str(name))
        return real(name, *args)  # type: ignore[call-overload]

    monkeypatch.setattr("onnxla.ir.superseded.open", refusing, raising=False)
    with pytest.warns(UserWarning, match=data.name):
        ir.save(model_of(2), path)
    assert data.exists()


def test_a_renamed_model_keeps_the_data_that_it_was_saved_with(path: Path) -> None:
    data = save_external(path, 1)
    path.rename(path.with_name("best.onnx"))
    save_external(path, 2)
    assert number_of(path.with_name("best.onnx")) == 1
    with pytest.warns(UserWarning, match=data.name):
        ir.save(model_of(3), path.with_name("best.onnx"))
    assert data.exists()
    save_external(path, 4)  # its name says that it is data of this target, and none needs it
    assert not data.exists()


def test_a_link_that_is_replaced_leaves_its_models_data(path: Path) -> None:
    data = save_external(path, 1)
    link = path.with_name("latest.onnx")
    link.symlink_to(path)
    ir.save(model_of(2), link)
    assert (number_of(path), number_of(link)) == (1, 2)
    assert data.exists()


def test_a_name_that_is_taken_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = path.with_name(f"model.onnx.{'0' * 12}.data")
    taken.write_bytes(b"somebody's")
    tokens = iter(("0" * 12, *(f"{i:012x}" for i in range(1, 9))))
    monkeypatch.setattr(claims.secrets, "token_hex", lambda size: next(tokens))
    data = save_external(path, 1)
    assert data.name == f"model.onnx.{1:012x}.data"
    assert taken.read_bytes() == b"somebody's"
    assert len(os.listdir(path.parent)) == 3


def test_a_name_for_data_that_there_is_not(path: Path) -> None:
    small = ir.Model(ir.Graph((), initializers=(ir.Tensor.of("w", np.ones(2)),)), {"": 20})
    ir.save(small, path, external_data="weights.bin")
    assert os.listdir(path.parent) == ["model.onnx"]


# Permissions


def test_data_is_as_private_as_the_model(path: Path) -> None:
    save_external(path, 1)
    path.chmod(0o600)
    data = save_external(path, 2)
    assert {stat.S_IMODE(p.stat().st_mode) for p in (path, data)} == {0o600}


# Interrupts, kills, and saves at the same time


def quiet_save(path: Path, number: float) -> list[str]:
    """Saves a model in one file, whatever it warns of. Returns the other files of the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ir.save(model_of(number), path, external_data=False)
    return [name for name in os.listdir(path.parent) if name != path.name]


@pytest.mark.parametrize("where", [False, True, "weights.bin"])
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_at_the_rename(
    path: Path, where: bool | str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_external(path, 1)
    real = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if target != path:
            return real(source, target)
        if after:
            real(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ir.save(model_of(2), path, external_data=where)
    assert number_of(path) == (2 if after else 1)
    if not after:
        assert len(os.listdir(path.parent)) == 2, "the model and its data, as before"
    left = quiet_save(path, 3)
    assert left == (["weights.bin"] if after and where == "weights.bin" else [])


def steps(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> Callable[[int], list[int]]:
    """Lets calls of functions of `os` raise KeyboardInterrupt at the one of a number."""

    def at(number: int) -> list[int]:
        count = [0]
        for name in names:
            real = getattr(os, name)

            def call(*args: object, real: Callable[..., object] = real, **more: object) -> object:
                count[0] += 1
                if count[0] == number:
                    raise KeyboardInterrupt
                return real(*args, **more)

            monkeypatch.setattr(os, name, call)
        return count

    return at


@pytest.mark.parametrize("where", [False, True, "weights.bin"])
def test_an_interrupt_at_any_call_of_the_system(
    path: Path, where: bool | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is whole at every moment, and the next save leaves nothing of the one before."""
    number = ended = 0
    while not ended:
        number += 1
        save_external(path, 1)
        with monkeypatch.context() as patch:
            steps(patch, ("replace", "fsync", "chmod", "unlink", "open", "fstat", "listdir"))(
                number
            )
            try:
                ir.save(model_of(2), path, external_data=where)
                ended = number
            except KeyboardInterrupt:
                pass
        assert number_of(path) in (1, 2)
        left = quiet_save(path, 3)
        assert left in ([], ["weights.bin"] if where == "weights.bin" else []), number
        path.with_name("weights.bin").unlink(missing_ok=True)
    assert ended > 5


HOLDING = """
import sys
from pathlib import Path
from onnxla.ir.claims import claim
with claim(Path(sys.argv[1])) as claimed:
    claimed.file.write(b"half")
    claimed.file.flush()
    print(flush=True)
    sys.stdin.read()
"""


def test_temporary_files_go_once_their_save_is_dead(path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert running.stdout is not None
    running.stdout.readline()
    ir.save(model_of(1), path)
    (temporary,) = path.parent.glob(".model.onnx.*.tmp")
    other = path.with_name(".other.onnx.0123456789ab.onnxla.tmp")
    other.write_bytes(b"")
    running.kill()
    running.communicate()
    ir.save(model_of(2), path)
    assert not temporary.exists()
    assert other.exists(), "that of another target"


def test_data_of_a_save_that_runs_stays(path: Path) -> None:
    ir.save(model_of(1), path)
    with claim(path) as claimed:
        claimed.data.write_bytes(b"data" + trailer(claimed.data))
        ir.save(model_of(2), path)
        assert claimed.data.exists()
    ir.save(model_of(3), path)
    assert not claimed.data.exists()


def test_a_temporary_file_that_another_save_took_is_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    real = claims.lock

    def taking(file: object) -> None:
        if not taken:
            taken.append(file.name)  # type: ignore[attr-defined]
            os.unlink(taken[0])
        real(file)  # type: ignore[arg-type]

    monkeypatch.setattr(claims, "lock", taking)
    ir.save(model_of(1), path)
    assert taken
    assert os.listdir(path.parent) == ["model.onnx"]


@pytest.mark.parametrize("error", [BlockingIOError(11, "busy"), OSError(37, "no locks")])
def test_locks_that_fail(path: Path, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    once = [error]

    def failing(file: object) -> None:
        if once:
            raise once.pop()

    monkeypatch.setattr(claims, "lock", failing)
    ir.save(model_of(1), path)
    assert os.listdir(path.parent) == ["model.onnx"]


def stress(*counts: str) -> None:
    command = [sys.executable, str(ROOT / "tools" / "stress_saving.py"), *counts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_a_few_kills_interrupts_and_races() -> None:
    stress("--kills", "8", "--interrupts", "8", "--pairs", "3")


@pytest.mark.more
@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_many_kills_interrupts_and_races() -> None:
    stress("--kills", "200", "--interrupts", "200", "--pairs", "20", "--seed", "1")


# Targets that cannot be written


def test_targets_are_checked_before(path: Path) -> None:
    check_target(path)
    assert not os.listdir(path.parent)
    save_external(path, 1)
    before = {p: p.read_bytes() for p in path.parent.iterdir()}
    check_target(path)
    targets = {path.parent: "directory", path / "m": "Not a directory"}
    targets |= {path.parent / "no" / "m": "No such file", path.parent / ("m" * 250): "too long"}
    if os.path.exists("/dev/null"):
        targets[Path("/dev/null")] = "Not a regular file"
    for target, reason in targets.items():
        for refuse in (check_target, lambda target: ir.save(model_of(2), target)):
            with pytest.raises(OSError, match=reason):
                refuse(target)
    with pytest.raises(OSError, match="directory"):
        replace_file(path.parent, [b""])
    assert {p: p.read_bytes() for p in path.parent.iterdir()} == before


# Memory


@pytest.mark.parametrize("where", [False, True])
def test_data_is_made_one_tensor_at_a_time(path: Path, where: bool) -> None:
    made: list[weakref.ref[np.ndarray]] = []
    most = 0

    def make() -> np.ndarray:
        nonlocal most
        array = np.ones(SHAPE, np.float32)
        made.append(weakref.ref(array))
        most = max(most, sum(reference() is not None for reference in made))
        return array

    tensors = tuple(ir.Tensor(f"w{i}", np.dtype("f4"), SHAPE, make) for i in range(20))
    model = ir.Model(ir.Graph((), initializers=tensors), {"": 20}, ir_version=9)
    ir.save(model, path, external_data=where)
    assert number_of(path) == 1
    assert len(made) == len(tensors)
    assert most <= 2


def test_data_that_is_not_as_declared_replaces_nothing(path: Path) -> None:
    data = save_external(path, 1)
    wrong = ir.Tensor("w", np.dtype("f4"), SHAPE, lambda: np.ones((2, *SHAPE), np.float32))
    model = ir.Model(ir.Graph((), initializers=(wrong,)), {"": 20}, ir_version=9)
    for where in (True, False, "weights.bin"):
        with pytest.raises(ir.ModelError, match=r"tensor 'w' is .* but its data is"):
            ir.save(model, path, external_data=where)
        assert {*path.parent.iterdir()} == {path, data}
