"""Runtimes in processes of their own: their values, how they end, and what they leave behind."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnxla.peers.isolation import Isolated, RuntimeCrashed, RuntimeNotStarted
from onnxla.peers.preflight import preflight
from onnxla.peers.protocol import NotSupported, Runtime, RuntimeFailed
from onnxla.peers.runtimes import find_runtime
from onnxla.peers.third_party.onnx2tf import as_in_onnx
from onnxla.peers.worker import pack, unpack

PLAIN = Path(__file__).parents[1] / "support" / "plain_runtime.py"
X = {"x": np.array([1, 2], np.float32)}


def without_site(folder: Path, *packages: str) -> str:
    """This interpreter without its packages but for some: onnxla is not among them."""
    there = folder / "packages"
    there.mkdir()
    home = Path(np.__file__).parents[1]
    for package in packages:
        for path in home.glob(f"{package}*"):
            (there / path.name).symlink_to(path)
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{there}" exec "{sys.executable}" -S "$@"\n')
    script.chmod(0o755)
    return str(script)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has numpy, and nothing else."""
    return without_site(tmp_path_factory.mktemp("bare"), "numpy")


@pytest.fixture(scope="module")
def plain(bare: str) -> Iterator[Isolated]:
    """The plain runtime there."""
    runtime = Isolated(f"{PLAIN}:Plain:an option", python=bare)
    yield runtime
    runtime.close()


VALUES: dict[str, Any] = {
    "float": np.array([[1.5, np.nan], [-0.0, np.inf]], np.float32),
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((2, 0, 3), np.int8),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "complex": np.array([1 + 2j], np.complex64),
    "bool": np.array([True, False]),
    "texts": np.array([["a", "é\0"], ["", "\ud800"]], object),
    "no texts": np.zeros((0, 2), object),
    "sequence": [np.ones(2, np.float16), np.zeros((0, 1), np.float16)],
    "empty sequence": [],
    "maps": [{1: 0.5, -3: float("inf")}, {}],
    "map of texts": {"a": 1, "b": 2},
    "optional": None,
    "number": np.float32(0.1),
}
NARROW = {
    name: np.array([1, 0, 1]).astype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "int4", "uint2", "float4_e2m1fn")
}


def assert_same(got: Any, expected: Any) -> None:
    """Asserts that two values are of the same kind, and the same bit for bit."""
    assert type(got) is type(expected)
    if isinstance(expected, list):
        assert len(got) == len(expected)
        for pair in zip(got, expected, strict=True):
            assert_same(*pair)
    elif isinstance(expected, np.ndarray | np.generic):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        same = got.tolist() == expected.tolist() or got.tobytes() == expected.tobytes()
        assert same
    else:
        assert got == expected


@pytest.mark.parametrize("name", [*VALUES, *NARROW])
def test_values_are_packed_exactly(name: str) -> None:
    value = {**VALUES, **NARROW}[name]
    assert_same(unpack(pack(value)[8:]), value)


def test_what_cannot_be_packed() -> None:
    with pytest.raises(TypeError, match="object is no array"):
        pack([object()])


def test_another_interpreter_needs_numpy_alone(plain: Isolated) -> None:
    assert isinstance(plain, Runtime)
    assert plain.name == "plain_runtime.py:Plain:an option"
    got = plain.run(b"echo", VALUES)
    for value, expected in zip(got, VALUES.values(), strict=True):
        assert_same(value, expected)
    assert plain.name == "plain"
    (option,) = plain.run(b"tell", X)  # and no package of ours
    assert option.item() == "an option"


def test_narrow_types_need_their_package(plain: Isolated, tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="bfloat16 is not known in this environment"):
        plain.run(b"echo", {"x": NARROW["bfloat16"]})
    richer = without_site(tmp_path, "numpy", "ml_dtypes")
    runtime = Isolated(f"{PLAIN}:INSTANCE", python=richer)
    for value, expected in zip(runtime.run(b"echo", NARROW), NARROW.values(), strict=True):
        assert_same(value, expected)
    assert [text.item() for text in runtime.run(b"tell", X)] == ["made here", "ml_dtypes"]
    runtime.close()


def test_what_counts_as_unsupported(plain: Isolated) -> None:
    with pytest.raises(NotSupported, match="no such kernel"):
        plain.run(b"refuse", X)
    with pytest.raises(NotSupported, match="NotImplementedError"):
        plain.run(b"leave_out", X)


def test_a_runtime_elsewhere_says_what_it_supports(bare: str) -> None:
    runtime = Isolated(f"{PLAIN}:Choosy", python=bare)
    (got,) = runtime.run(b"", X)
    assert got.tolist() == [1, 2]
    with pytest.raises(NotSupported, match="no pairs"):
        runtime.run(b"", {**X, "y": np.zeros(1)})
    with pytest.raises(NotSupported, match="does not support it"):
        runtime.run(b"", {})
    runtime.close()


def test_an_error_without_a_text_is_no_crash(plain: Isolated) -> None:
    with pytest.raises(RuntimeFailed, match="Mute, whose text cannot be made"):
        plain.run(b"fail_mutely", X)


def test_an_error_has_what_was_written_in_its_case_alone(plain: Isolated) -> None:
    with pytest.raises(RuntimeFailed) as caught:
        plain.run(b"fail", X)
    assert str(caught.value).startswith("ZeroDivisionError: oh; standard error: printed b'fail'")
    assert str(caught.value).endswith("a hint")
    assert 'raise ZeroDivisionError("oh")' in caught.value.__notes__[0]
    with pytest.raises(RuntimeFailed) as caught:
        plain.run(b"odd", X)
    text = "failed: an output is none that a case can have: object is no array"
    assert str(caught.value).startswith(text.removeprefix("failed: "))
    assert "a hint" not in str(caught.value)
    with pytest.raises(RuntimeFailed, match="`run` gives ndarray, not a list of outputs"):
        plain.run(b"one", X)


def test_a_crash_has_the_end_of_what_was_written(plain: Isolated) -> None:
    with pytest.raises(RuntimeCrashed) as caught:
        plain.run(b"crash", X)
    text = str(caught.value)
    assert text.startswith("plain took its process down: SIGSEGV; standard error: ... ")
    assert text.endswith("what(): bad shape")
    assert 3000 < len(text) < 5000
    assert len(plain.run(b"echo", X)) == 1  # in the next process


def test_a_hang_ends(plain: Isolated) -> None:
    plain.start()
    plain.timeout, before = 0.3, plain.timeout
    with pytest.raises(RuntimeCrashed, match=r"plain did not answer in 0\.3 s"):
        # Neither is it read while more is sent than a pipe holds.
        plain.run(b"hang", {"x": np.zeros(1 << 20)})
    plain.timeout = before
    assert len(plain.run(b"echo", X)) == 1


def test_gradients_go_through_as_outputs_do(bare: str, plain: Isolated) -> None:
    runtime = Isolated(f"{PLAIN}:Differentiating", python=bare)
    (got,) = runtime.vjp(b"", X, [None, np.array([3.0])])
    assert_same(got, np.array([6.0]))
    runtime.close()
    with pytest.raises(NotSupported, match="plain has no `vjp`"):
        plain.vjp(b"", X, [None])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit addresses")
def test_memory_is_limited(bare: str) -> None:
    runtime = Isolated(f"{PLAIN}:Plain", memory=4096, python=bare)
    with pytest.raises(RuntimeFailed, match="MemoryError"):
        runtime.run(b"grow", X)
    assert len(runtime.run(b"echo", X)) == 1
    runtime.close()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.py:Plain", "does not start: FileNotFoundError"),
        (f"{PLAIN}:Nobody", "does not start: AttributeError: .*'Nobody'"),
        (
            f"{PLAIN}:Nameless",
            r"'Nameless' is no runtime: it needs `name` and `run\(model, inputs\)`",
        ),
        ("no_such_package:Plain", "ModuleNotFoundError: No module named 'no_such_package'"),
    ],
    ids=["no file", "no object", "no runtime", "no module"],
)
def test_what_does_not_start(target: str, message: str, bare: str) -> None:
    with pytest.raises(RuntimeNotStarted, match=message):
        Isolated(target, python=bare).run(b"echo", X)


def test_what_cannot_be_sent_starts_nothing() -> None:
    class Local(Answering):
        """Is not importable."""

    runtime = Isolated(Local([]))
    for _ in range(2):
        with pytest.raises((AttributeError, pickle.PicklingError), match="Local"):
            runtime.run(b"", X)
    with pytest.raises(ValueError, match=r"'Plain' is not FILE\.py:NAME or MODULE:NAME"):
        Isolated("Plain").run(b"", X)


def test_an_interpreter_without_numpy(tmp_path: Path) -> None:
    with pytest.raises(RuntimeNotStarted, match=r"(?s)exit code 1; .*No module named 'numpy'"):
        Isolated(f"{PLAIN}:Plain", python=without_site(tmp_path)).run(b"echo", X)
    with pytest.raises(RuntimeNotStarted, match=r"nowhere does not start: .*No such file"):
        Isolated(f"{PLAIN}:Plain", python=str(tmp_path / "nowhere")).run(b"echo", X)


def test_a_program_that_is_no_file_is_not_looked_for() -> None:
    program = """
import numpy as np
import onnxla.testing as testing
print("once")
case = testing.example("Neg", 13, np.ones(2, np.float32))
print(testing.compare(case, "onnxla", testing.Isolated(testing.Reference())).kind)
"""
    run = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["once", "agreed"], run.stderr


def test_a_class_of_a_script_is_found(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
from onnxla.peers.isolation import Isolated

class Own:
    name = "own"
    def run(self, model, inputs):
        return [model]

if __name__ == "__main__":
    print(Isolated(Own()).run(b"a model", {}))
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stdout == "[b'a model']\n", done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nobody", "the adapter is broken: plain_runtime.py:Nobody does not start: AttributeError"),
        (
            "Plain",
            "the adapter 'plain', or what it needs, is broken: it fails for a model that adds",
        ),
        ("Dying", "the runtime is broken, even for a model that adds two arrays: .*SIGABRT"),
        (
            "Adding",
            r"'adding' is broken: .* gives a list of \[float64\[2\]\], not .*\[float32\[2\]\]",
        ),
    ],
    ids=["no object", "an error", "a crash", "another dtype"],
)
def test_preflight(name: str, message: str, bare: str) -> None:
    runtime = Isolated(f"{PLAIN}:{name}", python=bare)
    with pytest.raises(ValueError, match=message):
        preflight(runtime)
    runtime.close()


class Answering:
    """Gives what it is made with, or raises it."""

    name = "answering"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def run(self, model: bytes, inputs: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_preflight_of_a_runtime_in_this_process() -> None:
    preflight(Answering([np.array([0, 0], np.float32)]))  # adds wrongly: a finding, not a mistake
    preflight(Answering(NotSupported("Add")))
    for answer, message in (
        ({"z": X["x"]}, "gives dict, not a list of"),
        ([], r"gives a list of \[\], not a list of \[float32\[2\]\]"),
        ([[1.0, 2.0]], r"gives a list of \[list\]"),
        (
            ImportError("no module"),
            "is broken: it fails for a model that adds two arrays: no module",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            preflight(Answering(answer))


def test_axes_that_onnx2tf_moves_are_moved_back() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    moved = array.transpose(0, 2, 1)
    np.testing.assert_array_equal(as_in_onnx(moved, (2, 3, 4)), array)
    np.testing.assert_array_equal(as_in_onnx(array, (2, 3, 4)), array)
    np.testing.assert_array_equal(as_in_onnx(array[:, :1, :1], (2, 1, 1)), array[:, :1, :1])
    with pytest.raises(NotImplementedError, match="the axes could be in either order"):
        as_in_onnx(array[:, :, :3], (2, 3, 3))


def test_a_shipped_adapter_in_another_interpreter() -> None:
    runtime = find_runtime("onnxruntime", python=sys.executable)
    assert isinstance(runtime, Isolated)
    preflight(runtime)
    assert runtime.name.startswith("onnxruntime ")
    runtime.close()
    runtime = find_runtime("onnxruntime:NoSuchProvider", python=sys.executable)
    with pytest.raises(ValueError, match=r"the adapter is broken: .* no provider NoSuchProvider"):
        preflight(runtime)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("openvin", {}, "no runtime is named 'openvin'; did you mean 'openvino'"),
        ("onnxla", {"python": "python3"}, "'onnxla' is run by this interpreter, not by another"),
        ("nothing", {"python": "python3"}, "no runtime is named 'nothing'"),
        ("reference:fast", {}, "'reference' takes no option, and 'fast' is one"),
        ("sh {model}", {}, r"it has no \{inputs\}, \{outputs\}"),
        ("sh {model} {inputs} {outputs}", {"python": "python3"}, "a command says itself"),
        ("no-such-tool {model} {inputs} {outputs}", {}, "no program 'no-such-tool'"),
        ("no_such_module:Runtime", {}, "no runtime is named 'no_such_module:Runtime'"),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_runtimes_that_there_are_not(text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_runtime(text, **options)


def test_a_module_is_found_where_the_program_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "module_of_here.py").write_text(PLAIN.read_text())
    assert find_runtime("module_of_here:Plain").name == "plain"
    isolated = find_runtime("module_of_here.py:Plain:an option")
    assert isinstance(isolated, Isolated)
    assert isolated.run(b"tell", X)[0].item() == "an option"
    isolated.close()
    elsewhere = find_runtime("module_of_here:INSTANCE", python=sys.executable)
    assert elsewhere.run(b"tell", X)[0].item() == "made here"


def test_limits_ask_for_a_process() -> None:
    for options in ({"timeout": 5.0}, {"memory": 100}):
        found = find_runtime("support.plain_runtime:Plain", **options)  # type: ignore[arg-type]
        assert isinstance(found, Isolated)
        assert (found.timeout, found.memory) == (
            options.get("timeout", 60.0),
            options.get("memory"),
        )
    assert not isinstance(find_runtime("support.plain_runtime:Plain"), Isolated)
    provider = find_runtime("onnxruntime:CPUExecutionProvider")
    assert isinstance(provider, Isolated)
    assert provider.name == "onnxruntime"


@pytest.mark.parametrize(("said", "version"), [("", np.__version__), ("    version = '7'\n", "7")])
def test_the_version_is_that_of_the_other_environment(
    said: str, version: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"class Mine:\n    name = 'numpy'\n{said}    def run(self, *of): return []\n")
    isolated = Isolated(f"{file}:Mine")
    assert isolated.version is None
    isolated.start()
    assert isolated.version == version
    isolated.close()
