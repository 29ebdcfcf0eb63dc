"""Where a model's external data is said to be: in its folder, or anywhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from onnxla.auditing.contents import Contents, named, spell
from onnxla.auditing.remarks import Remark
from onnxla.ir.external import location_problem
from onnxla.ir.names import listed
from onnxla.ir.onnx_pb2 import TensorProto

KIND = "external-data"
KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
# Other models in the folder that are searched for the name of a data file.
OTHERS, LARGEST = 20, 2**24


def external_data(contents: Contents) -> Iterator[Remark]:
    """Each location of data, and what is there."""
    by_location: dict[str, list[TensorProto]] = {}
    for part, _ in contents.parts:
        if isinstance(part, TensorProto) and (part.external_data or is_external(part)):
            yield from strange_keys(part)
            by_location.setdefault(entry(part, "location"), []).append(part)
    for location, tensors in by_location.items():
        where = spell(tensors[0]) + (f" and {len(tensors) - 1:,} more" if tensors[1:] else "")
        if problem := location_problem(location):
            text = f"the location {named(location)} is not allowed: {problem}"
            yield Remark("danger", KIND, where, text)
        elif contents.path is None:
            yield Remark("info", KIND, where, f"its data is in {named(location)}")
        else:
            yield look(contents.path, location, where, max(map(end_of, tensors)))
            yield from shared(contents.path, location)


def is_external(tensor: TensorProto) -> bool:
    """Whether a tensor says that its data is in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def entry(tensor: TensorProto, key: str) -> str:
    """What a tensor says about its external data under a key."""
    return next((text_of(each.value) for each in tensor.external_data if each.key == key), "")


def text_of(value: str | bytes) -> str:
    """A text of the file, which need not be UTF-8."""
    return value if isinstance(value, str) else value.decode(errors="backslashreplace")


def end_of(tensor: TensorProto) -> int:
    """The least size of a file that has a tensor's data, as far as the tensor says."""
    texts = entry(tensor, "offset"), entry(tensor, "length")
    return sum(int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 20)


def strange_keys(tensor: TensorProto) -> Iterator[Remark]:
    """Keys that mean nothing, or that are there twice."""
    keys = [text_of(each.key) for each in tensor.external_data]
    if strange := sorted({*keys} - KEYS):
        text = f"says of its data what no reader knows: {listed(strange, named)}"
        yield Remark("warning", "external-keys", spell(tensor), text)
    if len({*keys}) < len(keys):
        text = "says something about its data twice, and readers differ in which they believe"
        yield Remark("warning", "external-keys", spell(tensor), text)
    if not is_external(tensor):
        text = "says where external data is, and that its data is not external"
        yield Remark("warning", "external-keys", spell(tensor), text)


def look(model: Path, location: str, where: str, needed: int) -> Remark:
    """What lies at a location in a model's folder. Looks at the file, and does not read it."""
    path, shown = model.parent / location, named(location)
    real = Path(os.path.realpath(path))
    folders = {Path(os.path.realpath(model.parent)), Path(os.path.realpath(model)).parent}
    if not any(real.is_relative_to(folder) for folder in folders):
        text = f"{shown} is a link out of the model's folder, to {named(str(real))}"
        return Remark("danger", KIND, where, text)
    try:
        status = os.stat(real)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Remark("warning", KIND, where, f"its data in {shown} is not there: {reason}")
    if not stat.S_ISREG(status.st_mode):
        return Remark("danger", KIND, where, f"{shown} is no regular file")
    if status.st_nlink > 1:
        text = f"{shown} has {status.st_nlink} hard links: it may be another file of yours"
        return Remark("warning", KIND, where, text)
    if status.st_size < needed:
        text = f"its data in {shown} ends at {needed:,}, after the file's {status.st_size:,} bytes"
        return Remark("warning", KIND, where, text)
    return Remark("info", KIND, where, f"its data is in {shown}, {status.st_size:,} bytes")


def shared(model: Path, location: str) -> Iterator[Remark]:
    """Other models beside this one that name the same file."""
    word = location.encode(errors="surrogatepass")
    for other in sorted(model.parent.glob("*.onnx"))[:OTHERS]:
        try:
            status = other.stat()
            if other.samefile(model) or not stat.S_ISREG(status.st_mode):
                continue
            if status.st_size <= LARGEST and word in other.read_bytes():
                text = f"{named(other.name)} names it, too: do not change or remove it"
                yield Remark("info", KIND, named(location), text)
        except OSError:
            continue
