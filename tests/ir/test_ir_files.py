"""Files that change, or are put in place of others, while a model that was read is used."""

import copy
import gc
import os
import pickle
import tracemalloc
from pathlib import Path, PurePath

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxla
from onnxla import ir
from onnxla.ir import files, folders, reader
from onnxla.ir.external import KEPT_OPEN
from onnxla.ir.files import OpenFile, content
from onnxla.ir.folders import Folder

WEIGHT = np.arange(10_000, dtype=np.float32)
OPEN = "/proc/self/fd"


def tensor(location: str = "w.bin", size: int = WEIGHT.size) -> TensorProto:
    """A tensor whose data is in another file."""
    external = TensorProto(name=location, data_type=1, dims=[size])
    external.data_location = TensorProto.EXTERNAL
    external.external_data.add(key="location", value=location)
    return external


def model_of(*tensors: TensorProto) -> bytes:
    """A model that adds its first tensor."""
    node = helper.make_node("Add", ["x", tensors[0].name], ["y"])
    x, y = (helper.make_tensor_value_info(name, 1, [WEIGHT.size]) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y], tensors)
    opset = helper.make_opsetid("", 21)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


def write(folder: Path, external: bool = True) -> tuple[Path, Path]:
    """A model in a folder: its path, and that of its data."""
    folder.mkdir(exist_ok=True)
    path, data = folder / "model.onnx", folder / "w.bin"
    if external:
        data.write_bytes(WEIGHT.tobytes())
        path.write_bytes(model_of(tensor()))
        return path, data
    path.write_bytes(model_of(numpy_helper.from_array(WEIGHT, "w")))
    return path, path


def numbers(model: ir.Model) -> np.ndarray:
    return model.graph.initializers[0].numpy()


@pytest.fixture(params=[True, False], ids=["handles", "no handles"])
def handles(request, monkeypatch):
    """With and without what Windows lacks."""
    if not request.param:
        monkeypatch.setattr(folders, "has_handles", lambda: False)
        monkeypatch.delattr(os, "preadv")


@pytest.mark.parametrize("external", [True, False])
def test_data_that_is_overwritten_in_place(tmp_path, external, handles):
    path, data = write(tmp_path, external)
    model = ir.read(path)
    before = numbers(model)
    content = data.read_bytes()
    with data.open("r+b") as file:
        file.write(content[:-4] + b"\0\0\0\0")
    with pytest.raises(ir.ModelError, match=rf"{data.name}' has changed since the model was read"):
        numbers(model)
    with pytest.raises(ir.ModelError, match="has changed"):
        ir.save(model, tmp_path / "new.onnx", external_data=False)
    assert not (tmp_path / "new.onnx").exists()
    np.testing.assert_array_equal(before, WEIGHT)


@pytest.mark.parametrize("external", [True, False])
def test_data_that_is_shortened(tmp_path, external, handles):
    path, data = write(tmp_path, external)
    model, size = ir.read(path), data.stat().st_size
    os.truncate(data, 1000)
    with pytest.raises(ir.ModelError, match=f"it has 1000 bytes, and had {size}"):
        numbers(model)


def test_a_file_that_another_is_put_in_place_of_stays(tmp_path, handles):
    path, data = write(tmp_path)
    model = ir.read(path)
    (tmp_path / "other").write_bytes(bytes(WEIGHT.nbytes))
    os.replace(tmp_path / "other", data)
    np.testing.assert_array_equal(numbers(model), WEIGHT)


def test_what_is_read_is_nobody_elses(tmp_path):
    model = ir.read(write(tmp_path)[0])
    array = numbers(model)
    assert not array.flags.writeable
    assert not np.shares_memory(array, numbers(model))


def test_a_module_of_a_file_is_pickled_and_copied(tmp_path):
    path, data = write(tmp_path)
    module = onnxla.load(path)
    pickled, copied = pickle.dumps(module), copy.deepcopy(module)
    data.write_bytes(bytes(WEIGHT.nbytes))
    for same in (pickle.loads(pickled), copied):
        same.save(tmp_path / "again.onnx", external_data=False)
        np.testing.assert_array_equal(numbers(ir.read(tmp_path / "again.onnx")), WEIGHT)


@pytest.mark.skipif(not os.path.isdir(OPEN), reason=f"needs {OPEN}")
def test_a_file_for_each_tensor_takes_few_descriptors(tmp_path):
    names = [f"w{i}.bin" for i in range(2 * KEPT_OPEN)]
    for name in names:
        (tmp_path / name).write_bytes(WEIGHT[:3].tobytes())
    (tmp_path / "model.onnx").write_bytes(model_of(*(tensor(name, 3) for name in names)))
    before = len(os.listdir(OPEN))
    model = ir.read(tmp_path / "model.onnx")
    assert len(os.listdir(OPEN)) - before <= KEPT_OPEN + 2  # the model and its folder
    assert all(t.numpy().tolist() == [0, 1, 2] for t in model.graph.initializers)
    with (tmp_path / names[-1]).open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(ir.ModelError, match=f"{names[-1]}' has changed"):
        model.graph.initializers[-1].numpy()
    (tmp_path / names[-2]).unlink()
    with pytest.raises(ir.ModelError, match=f"{names[-2]}': No such file"):
        model.graph.initializers[-2].numpy()
    del model
    gc.collect()  # errors refer to what raised them
    assert len(os.listdir(OPEN)) <= before


@pytest.mark.parametrize("number", [TensorProto.INT4, TensorProto.FLOAT6E2M3, TensorProto.UINT2])
def test_small_elements_are_unpacked_without_a_second_copy(tmp_path, number):
    count = 6_000_000
    packed = TensorProto(name="w", data_type=number, dims=[count])
    packed.raw_data = bytes(count * ir.bits_of(number) // 8)
    (tmp_path / "model.onnx").write_bytes(model_of(packed))
    model = ir.read(tmp_path / "model.onnx")
    tracemalloc.start()
    try:
        assert numbers(model).nbytes == count
        assert tracemalloc.get_traced_memory()[1] < 1.5 * count
    finally:
        tracemalloc.stop()


def test_data_for_which_there_is_no_memory(tmp_path, monkeypatch):
    model = ir.read(write(tmp_path)[0])

    def empty(*args):
        raise MemoryError

    monkeypatch.setattr(np, "empty", empty)
    with pytest.raises(ir.ModelError, match=f"w.bin': no memory for {WEIGHT.nbytes} bytes"):
        numbers(model)


def test_data_that_is_shortened_while_it_is_read(tmp_path, monkeypatch, handles):
    path, data = write(tmp_path)
    model, read_at = ir.read(path), files.read_at

    def shorten(*args):
        os.truncate(data, 0)
        return read_at(*args)

    monkeypatch.setattr(files, "read_at", shorten)
    with pytest.raises(ir.ModelError, match="shortened while it was read"):
        numbers(model)


# Folders that are put in place of others


def secret(folder: Path) -> Path:
    """A folder with a file of the name that a model asks for."""
    folder.mkdir()
    (folder / "w.bin").write_bytes(np.full_like(WEIGHT, 13).tobytes())
    return folder


def test_a_folder_that_is_swapped_after_the_model_was_opened(tmp_path, monkeypatch):
    path, _ = write(tmp_path / "model")
    hidden, decode = secret(tmp_path / "hidden"), reader.decode_model

    def swap(*args):
        (tmp_path / "model").rename(tmp_path / "old")
        (tmp_path / "model").symlink_to(hidden)
        return decode(*args)

    monkeypatch.setattr(reader, "decode_model", swap)
    with pytest.raises(ir.ModelError, match="leads out of the model's folder"):
        ir.read(path)


def test_a_folder_that_is_swapped_between_check_and_use(tmp_path):
    write(tmp_path / "model")
    hidden = secret(tmp_path / "hidden")
    folder = Folder(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "old")
    (tmp_path / "model").symlink_to(hidden)
    file = OpenFile("w.bin", lambda: folder.open(PurePath("w.bin")))
    assert content(file.content) == WEIGHT.tobytes()


@pytest.mark.parametrize("name", ["w.bin", "data/w.bin"])
def test_a_link_that_is_put_in_between_check_and_use(tmp_path, name, handles):
    write(tmp_path / "model")
    hidden = secret(tmp_path / "hidden")
    folder = Folder(tmp_path / "model")
    if "/" in name:
        (tmp_path / "model" / "data").symlink_to(hidden)
    else:
        (tmp_path / "model" / name).unlink()
        (tmp_path / "model" / name).symlink_to(hidden / name)
    with pytest.raises(OSError):  # noqa: PT011 - systems differ in which
        folder.open(PurePath(name))


def test_a_link_to_a_model_that_is_swapped_once_it_is_open(tmp_path, monkeypatch):
    path, _ = write(tmp_path / "model")
    hidden = secret(tmp_path / "hidden")
    (hidden / "model.onnx").write_bytes(path.read_bytes())
    link = tmp_path / "link.onnx"
    link.symlink_to(path)
    real = os.path.realpath

    def swap(path, **options):
        if Path(path) == link:
            link.unlink()
            link.symlink_to(hidden / "model.onnx")
        return real(path, **options)

    monkeypatch.setattr(os.path, "realpath", swap)
    with pytest.raises(ir.ModelError, match="link that has changed"):
        ir.read(link)


def test_a_model_in_a_folder_that_cannot_be_listed(tmp_path, handles):
    path, _ = write(tmp_path / "model")
    (tmp_path / "model").chmod(0o100)
    try:
        np.testing.assert_array_equal(numbers(ir.read(path)), WEIGHT)
    finally:
        (tmp_path / "model").chmod(0o700)


def test_errors_name_the_path(tmp_path, handles):
    for path in (tmp_path / "none.onnx", tmp_path / "none" / "model.onnx"):
        with pytest.raises(FileNotFoundError, match=str(path)):
            ir.read(path)
    with pytest.raises(ir.ModelError, match="not a regular file"):
        ir.read("/dev/null")
    model = onnx.ModelProto()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ir.read(model, folder=tmp_path / "nowhere")
