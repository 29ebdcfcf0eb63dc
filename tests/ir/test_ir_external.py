"""External data: what a model may refer to, and how it is read and saved."""

import contextlib
import hashlib
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxla import ir

WEIGHT = np.arange(6000, dtype=np.float32).reshape(60, 100)
CHECKSUM = hashlib.sha1(WEIGHT.tobytes()).hexdigest()


def external_model(location="w.bin", **entries) -> bytes:
    """A model of one tensor [60, 100] that is in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=WEIGHT.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    node = helper.make_node("Add", ["x", "w"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, WEIGHT.shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, WEIGHT.shape)
    return helper.make_model(helper.make_graph([node], "g", [x], [y], [tensor])).SerializeToString()


def write_model(folder, location="w.bin", data: bytes | None = WEIGHT.tobytes(), **entries):
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(external_model(location, **entries))
    if data is not None:
        (folder / "w.bin").write_bytes(data)
    return folder / "model.onnx"


def weight(model: ir.Model) -> np.ndarray:
    return model.graph.initializers[0].numpy()


def test_reads_from_the_folder_of_the_model(tmp_path):
    array = weight(ir.read(write_model(tmp_path)))
    np.testing.assert_array_equal(array, WEIGHT)
    assert not array.flags.writeable


def test_reads_at_an_offset(tmp_path):
    data = bytes(4096) + WEIGHT.tobytes() + b"rest"
    path = write_model(tmp_path, data=data, offset=4096, length=WEIGHT.nbytes)
    np.testing.assert_array_equal(weight(ir.read(path)), WEIGHT)


def test_bytes_need_a_folder(tmp_path):
    write_model(tmp_path)
    with pytest.raises(ir.ModelError, match=r"'w'.*not read from a path.*folder="):
        ir.read(external_model())
    np.testing.assert_array_equal(weight(ir.read(external_model(), folder=tmp_path)), WEIGHT)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("C:\\data\\w.bin", "absolute"),
        ("\\\\server\\share\\w.bin", "absolute"),
        ("../w.bin", "upwards"),
        ("data/../../w.bin", "upwards"),
        ("data\\..\\..\\w.bin", "upwards"),
        ("", "not a file name"),
        ("w\0.bin", "not a file name"),
        ("*/_ORT_MEM_ADDR_/*", "address in the memory"),
    ],
)
def test_refuses_locations_that_lead_out(tmp_path, location, reason):
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    path = write_model(tmp_path / "model", location)
    with pytest.raises(ir.ModelError, match=f"'w'.*not allowed.*{reason}"):
        ir.read(path)


def test_refuses_a_symbolic_link_out_of_the_folder(tmp_path):
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    path = write_model(tmp_path / "model", data=None)
    (tmp_path / "model" / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ir.ModelError, match=r"symbolic link leads out.*secret"):
        ir.read(path)


def test_refuses_a_linked_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w.bin").write_bytes(WEIGHT.tobytes())
    path = write_model(tmp_path / "model", "data/w.bin", data=None)
    (tmp_path / "model" / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ir.ModelError, match="symbolic link leads out"):
        ir.read(path)


def test_accepts_a_symbolic_link_within_the_folder(tmp_path):
    path = write_model(tmp_path, "link.bin")
    (tmp_path / "link.bin").symlink_to("w.bin")
    np.testing.assert_array_equal(weight(ir.read(path)), WEIGHT)


def test_accepts_a_cache_that_links_model_and_data_into_one_folder(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "1111").write_bytes(external_model())
    (blobs / "2222").write_bytes(WEIGHT.tobytes())
    (snapshot / "model.onnx").symlink_to(blobs / "1111")
    (snapshot / "w.bin").symlink_to(blobs / "2222")
    np.testing.assert_array_equal(weight(ir.read(snapshot / "model.onnx")), WEIGHT)
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    (snapshot / "w.bin").unlink()
    (snapshot / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ir.ModelError, match="symbolic link leads out"):
        ir.read(snapshot / "model.onnx")


def test_refuses_hard_links(tmp_path):
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    path = write_model(tmp_path / "model", data=None)
    os.link(tmp_path / "secret", tmp_path / "model" / "w.bin")
    with pytest.raises(ir.ModelError, match=r"several hard links.*copy the data"):
        ir.read(path)
    with pytest.raises(ir.ModelError, match="several hard links"):
        ir.read(path.read_bytes(), folder=path.parent)


def test_accepts_a_model_and_data_that_one_owner_has_linked(tmp_path):
    stored = write_model(tmp_path / "store")
    (tmp_path / "installed").mkdir()
    for name in ("model.onnx", "w.bin"):
        os.link(stored.with_name(name), tmp_path / "installed" / name)
    path = tmp_path / "installed" / "model.onnx"
    np.testing.assert_array_equal(weight(ir.read(path)), WEIGHT)
    if os.getuid() == 0:  # nobody else may give files away
        os.chown(path.with_name("w.bin"), 12345, -1)
        with pytest.raises(ir.ModelError, match="the same owner"):
            ir.read(path)


def test_a_link_to_a_model_finds_the_data_beside_either(tmp_path):
    path = write_model(tmp_path / "model")
    link = tmp_path / "model.onnx"
    link.symlink_to(path)
    np.testing.assert_array_equal(weight(ir.read(link)), WEIGHT)
    (tmp_path / "w.bin").write_bytes((WEIGHT + 1).tobytes())
    np.testing.assert_array_equal(weight(ir.read(link)), WEIGHT + 1)


def test_refuses_pipes_without_waiting_for_them(tmp_path):
    path = write_model(tmp_path, data=None)
    os.mkfifo(tmp_path / "w.bin")
    with pytest.raises(ir.ModelError, match="not a regular file"):
        ir.read(path)


def test_refuses_folders(tmp_path):
    path = write_model(tmp_path, data=None)
    (tmp_path / "w.bin").mkdir()
    with pytest.raises(ir.ModelError, match="not a regular file"):
        ir.read(path)


def test_names_a_missing_file(tmp_path):
    with pytest.raises(ir.ModelError, match=r"'w'.*w\.bin.*No such file"):
        ir.read(write_model(tmp_path, data=None))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": 1}, "offset 1 with 24000 bytes ends after 'w.bin', which has 24000"),
        ({"offset": 2**62}, "ends after"),
        ({"offset": -1}, "offset '-1', which is not a number"),
        ({"offset": "9" * 5000}, "not a number"),
        ({"offset": "٣"}, "not a number"),
        ({"length": 23996}, "length 23996, but type and shape need 24000"),
        ({"length": "many"}, "length 'many', which is not a number"),
    ],
)
def test_checks_offset_and_length(tmp_path, entries, reason):
    with pytest.raises(ir.ModelError, match=reason):
        ir.read(write_model(tmp_path, **entries))


def test_compares_the_checksum_of_the_file(tmp_path):
    data = bytes(4096) + WEIGHT.tobytes()
    whole = hashlib.sha1(data).hexdigest()
    path = write_model(tmp_path, data=data, offset=4096, checksum=whole.upper())
    np.testing.assert_array_equal(weight(ir.read(path)), WEIGHT)
    for wrong in (CHECKSUM, "abc", "", "9" * 10**6):
        write_model(tmp_path, data=data, offset=4096, checksum=wrong)
        with pytest.raises(
            ir.ModelError, match=f"'w'.*'w.bin' has the SHA-1 checksum {whole}"
        ) as e:
            ir.read(path)
        assert len(str(e.value)) < 500


@pytest.mark.parametrize("key", ["location", "offset", "checksum", "prepacked"])
def test_refuses_a_key_twice(tmp_path, key):
    model = onnx.load_from_string(external_model(**{key: "w.bin"} if key == "location" else {}))
    for _ in range(1 if key == "location" else 2):
        model.graph.initializer[0].external_data.add(key=key, value="0")
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(ir.ModelError, match=f"external_data has the key '{key}' twice"):
        ir.read(model, folder=tmp_path)


def test_a_location_of_any_length(tmp_path):
    for location in ("a/" * 2_000_000, "a" * 3000, "a/" * 2000):
        with pytest.raises(ir.ModelError, match=r"characters|too long|No such file") as error:
            ir.read(write_model(tmp_path, location))
        assert len(str(error.value)) < 10_000


def test_writing_keeps_the_reference(tmp_path):
    path = write_model(tmp_path, offset=0, checksum=CHECKSUM)
    assert onnx.load_from_string(ir.write(ir.read(path))) == onnx.load(
        path, load_external_data=False
    )


def test_saving_makes_one_aligned_data_file(tmp_path):
    path = write_model(tmp_path / "old", checksum=CHECKSUM)
    model = ir.read(path)
    second = ir.Tensor.of("v", np.ones(5, np.float32))
    first = model.graph.initializers[0].with_data(WEIGHT + 1)
    model = replace_initializers(model, first, second, model.graph.initializers[0])
    saved = tmp_path / "new.onnx"
    ir.save(model, saved)
    (data,) = tmp_path.glob("new.onnx.*.data")
    end = b"\nonnxla wrote this file as " + data.name.encode()
    assert data.stat().st_size == 28672 - 4096 + WEIGHT.nbytes + len(end)
    assert data.read_bytes().endswith(WEIGHT.tobytes() + end)
    stored = onnx.load(saved, load_external_data=False).graph.initializer
    assert [len(t.external_data) for t in stored] == [3, 0, 3]
    assert {e.key: e.value for e in stored[2].external_data}["offset"] == "24576"
    again = [tensor.numpy() for tensor in ir.read(saved).graph.initializers]
    np.testing.assert_array_equal(again[0], WEIGHT + 1)
    np.testing.assert_array_equal(again[1], np.ones(5))
    np.testing.assert_array_equal(again[2], WEIGHT)
    onnx.checker.check_model(onnx.load(tmp_path / "old" / "model.onnx"))


def replace_initializers(model: ir.Model, *tensors: ir.Tensor) -> ir.Model:
    return replace(model, graph=replace(model.graph, initializers=tensors))


def test_saving_over_itself_again_and_again(tmp_path):
    path = write_model(tmp_path)
    for step in range(1, 4):
        model = ir.read(path)
        old = weight(model)
        tensor = model.graph.initializers[0]
        with pytest.warns(match=r"'w\.bin'") if step == 1 else contextlib.nullcontext():
            ir.save(replace_initializers(model, tensor.with_data(old + 1)), path)
        np.testing.assert_array_equal(old, WEIGHT + step - 1)  # the old data is still there
        np.testing.assert_array_equal(weight(ir.read(path)), WEIGHT + step)
        assert len(list(tmp_path.glob("model.onnx*data"))) == 1
        assert not list(tmp_path.glob("*.tmp"))


def test_external_can_be_forced_either_way(tmp_path):
    model = ir.read(write_model(tmp_path))
    ir.save(model, tmp_path / "inline.onnx", external_data=False)
    assert not list(tmp_path.glob("inline.onnx.*"))
    inline = ir.read((tmp_path / "inline.onnx").read_bytes())
    np.testing.assert_array_equal(weight(inline), WEIGHT)
    ir.save(inline, tmp_path / "external.onnx", external_data="data.bin")
    assert (tmp_path / "data.bin").read_bytes() == WEIGHT.tobytes()
    np.testing.assert_array_equal(weight(ir.read(tmp_path / "external.onnx")), WEIGHT)
