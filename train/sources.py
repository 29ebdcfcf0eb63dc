"""What people have as data: which of it is samples to read by number, and which gives batches.

No framework is imported: an object is known by what it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.inputs import by_name
from onnxla.ir.names import listed, plain
from onnxla.module import Module


@dataclass(frozen=True)
class InOrder:
    """Items that can be read by number, one after the other."""

    source: Any

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        return (self.source[index] for index in range(len(self.source)))


def iterate(source: Iterable[Any]) -> Iterator[Any]:
    """An iterator over a source; of a `tf.data.Dataset`, over numpy arrays."""
    of_tensorflow = getattr(source, "as_numpy_iterator", None)
    return iter(source) if of_tensorflow is None else iter(of_tensorflow())


def is_array(value: Any) -> bool:
    """Whether a value is an array, a tensor or a column."""
    return hasattr(value, "dtype") and hasattr(value, "__len__")


def is_frame(value: Any) -> bool:
    """Whether a value is a DataFrame, of pandas or polars."""
    return hasattr(value, "columns") and hasattr(value, "to_numpy")


def is_table(value: Any) -> bool:
    """Whether a value is a Hugging Face `Dataset`, which reads many rows at once."""
    return is_map_style(value) and all(hasattr(value, n) for n in ("column_names", "features"))


def is_map_style(value: Any) -> bool:
    """Whether a value's items can be read by number."""
    can = all(hasattr(value, name) for name in ("__getitem__", "__len__"))
    return can and not isinstance(value, str | bytes | Mapping) and not is_array(value)


def as_numpy(value: Any) -> Any:
    """A tensor as an array, which shares its memory where it can; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu()
    if "bfloat16" in str(tensor.dtype):  # which numpy does not have
        tensor = tensor.float()
    return tensor.numpy()


def as_array(value: Any) -> Any:
    """A leaf of somebody's data as an array: one of objects, if it is sequences of many lengths."""
    if hasattr(value, "toarray"):
        raise TypeError(f"{type(value).__name__} is a sparse matrix: pass its .toarray()")
    if not isinstance(value, list):
        return column(value) if hasattr(value, "to_numpy") else as_plain(as_numpy(value))
    values = [as_numpy(each) for each in value]
    try:
        return as_plain(np.asarray(values))
    except ValueError:  # of different shapes
        ragged = np.empty(len(values), object)
        for index, each in enumerate(values):
            ragged[index] = np.asarray(each)
        return ragged


def as_plain(value: Any) -> Any:
    """Bytes, as TensorFlow has strings, as text; objects that are numbers as these."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "OS" or not value.size:
        return value
    if not isinstance(value.flat[0], bytes):
        numbers = value.dtype == object and all(isinstance(each, Number) for each in value.flat)
        return np.array(value.tolist()) if numbers else value
    decoded = [each.decode(errors="replace") for each in value.flat]
    return np.array(decoded, object).reshape(value.shape)


def as_arrays(value: Any) -> Any:
    """A tree of somebody's data: its mappings as dicts, and its leaves as arrays."""
    if isinstance(value, Mapping):
        return {name: as_arrays(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map(as_arrays, value))
    return as_array(value)


def column(series: Any) -> np.ndarray:
    """A column of a DataFrame."""
    found: np.ndarray = as_plain(np.asarray(series.to_numpy()))
    return found


def frame_inputs(module: Module, frame: Any) -> dict[str, np.ndarray]:
    """The inputs that a DataFrame's columns are: by name, or all of them the only input.

    Raises:
        TypeError: No column has the name of an input, and there are several; or one is text, or
            there twice; or there is none.
    """
    declared = module.program.declared
    names = names_of_columns(frame)
    if not names:
        raise TypeError("the DataFrame has no columns")
    if any(name in declared for name in names):
        return frame_columns(module, frame)
    if len(declared) != 1:
        raise TypeError(
            f"no column of the DataFrame ({listed(names, plain)}) is named as an input "
            f"({listed([*declared], plain)}); rename={{'column': 'input'}} names them"
        )
    (value,) = declared.values()
    columns = {name: column(frame[key]) for name, key in zip(names, frame.columns, strict=True)}
    text = [name for name, each in columns.items() if each.dtype.kind not in "fiubc"]
    if text:
        raise TypeError(f"columns {listed(text)} of the DataFrame are no numbers: leave them out")
    return {value.name: as_declared(value, np.stack([*columns.values()], 1))}


def names_of_columns(frame: Any) -> list[str]:
    """The names of a DataFrame's columns. Raises: TypeError if one is there twice."""
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TypeError(f"the DataFrame has several columns named {listed(twice)}: rename them")
    return names


def frame_columns(module: Module, frame: Any) -> dict[str, np.ndarray]:
    """A DataFrame's columns by name; those of inputs as the model declares them."""
    names = names_of_columns(frame)
    columns = {n: column(frame[key]) for n, key in zip(names, frame.columns, strict=True)}
    declared = module.program.declared
    return {
        name: as_declared(declared[name], value) if name in declared else value
        for name, value in columns.items()
    }


def as_declared(declared: ir.ValueInfo, array: np.ndarray) -> np.ndarray:
    """A table's numbers for an input: integers as floats, scalars as rows of one number."""
    kind = declared.type
    if not isinstance(kind, ir.TensorType) or kind.dtype is None:
        return array
    if array.dtype.kind in "iub" and ir.is_float(kind.dtype):
        array = array.astype(kind.dtype)
    one = kind.shape is not None and len(kind.shape) == 2 and kind.shape[1] == 1
    return array[:, None] if one and array.ndim == 1 else array


def frame_targets(value: Any) -> Any:
    """Targets as arrays: a DataFrame is one array, with a column for each of its own."""
    if not is_frame(value):
        return as_arrays(value)
    names_of_columns(value)
    return np.stack([column(value[name]) for name in value.columns], 1)


def require_same_index(parts: Sequence[Any]) -> None:
    """Raises ValueError if frames or Series of pandas have their rows in different orders."""
    indexes = [part.index for part in parts if hasattr(part, "iloc")]
    for index in indexes[1:]:
        if not index.equals(indexes[0]):
            raise ValueError(
                f"inputs and targets have different indexes: {[*indexes[0][:3]]}... and"
                f" {[*index[:3]]}...: bring one into the other's order, as"
                " frame['target'].loc[features.index], or pass .to_numpy() of both"
            )


def rank(value: Any) -> int:
    """How many axes a value has, by its first elements where it is a list."""
    if hasattr(value, "shape"):
        return len(value.shape)
    if isinstance(value, list | tuple):
        return 1 + (rank(value[0]) if len(value) else 0)
    return int(np.ndim(value))


def kind_of_item(module: Module, item: Any, rename: Mapping[str, str]) -> str | None:
    """Whether an item is a `"batch"` or a `"sample"`, by how many axes its inputs have.

    Args:
        module: Declares the inputs.
        item: One of the forms of a batch.
        rename: Names of the data, and the inputs' that they are.

    Returns:
        None if the model does not tell how many axes there are, or the item has none of the forms.
    """
    if isinstance(item, tuple | list) and len(item) in (2, 3):
        item = item[0]
        if isinstance(item, list) and not any(map(is_array, item)):
            item = (item,)
    elif not isinstance(item, Mapping):
        return None
    try:
        inputs = by_name(module.program, item)
    except TypeError:
        return None
    found = set()
    for name, value in inputs.items():
        declared = module.program.declared.get(rename.get(name, name))
        if declared is None or not isinstance(declared.type, ir.TensorType):
            continue
        if (shape := declared.type.shape) is not None:
            found.add(len(shape) + module.program.batched - rank(value))
    return "batch" if found == {0} else "sample" if found == {1} else None


def is_pair(module: Module, data: list[Any], rename: Mapping[str, str]) -> bool:
    """Whether a list is inputs and targets of all samples, [X, Y], and no list of batches.

    Raises:
        TypeError: It may be either.
    """
    if len(data) not in (2, 3):
        return False
    inputs, *others = data
    if all(map(is_array, others)) and (is_array(inputs) or is_frame(inputs)):
        return True  # an array is no batch
    if all(map(is_array, others)) and isinstance(inputs, Mapping):
        return True
    if len(data) != 2 or not all(isinstance(each, list) or is_array(each) for each in data):
        return False
    if len(inputs) != len(others[0]) or kind_of_item(module, ((inputs,), 0), rename) != "batch":
        return False
    kinds = {kind_of_item(module, item, rename) for item in data}
    if len(kinds) == 1 and kinds != {None}:
        raise TypeError(
            "a list of two lists may be [inputs, targets] or two pairs: write (inputs, targets), "
            f"or a list of tuples [(x, y), ...], which is read as one {kinds.pop()} each"
        )
    return True


def collate(samples: Sequence[Any]) -> Any:
    """Samples as one item: a dict or a tuple of lists, whose elements are arrays.

    Raises:
        TypeError: They do not have the same parts, or have none.
    """
    first = samples[0]
    kinds = {parts_of(sample) for sample in samples}
    if len(kinds) > 1 or None in kinds:
        found = sorted({type(sample).__name__ for sample in samples})
        raise TypeError(
            "samples are pairs (inputs, targets), triples with weights, or dicts by name, all of"
            f" the same form; got {listed(found, str)}"
        )
    if isinstance(first, Mapping):
        if other := next((s for s in samples if {*s} != {*first}), None):
            raise TypeError(
                f"samples have different names: {listed(sorted(first))}, and "
                f"{listed(sorted(other))}"
            )
        return {name: stacked([sample[name] for sample in samples]) for name in first}
    return tuple(stacked(list(parts)) for parts in zip(*samples, strict=True))


def parts_of(sample: Any) -> int | None:
    """How many parts a sample has in order, -1 if it has them by name; None if it has none."""
    if isinstance(sample, Mapping):
        return -1
    return len(sample) if isinstance(sample, tuple | list) else None


def stacked(parts: list[Any]) -> Any:
    """What several samples have in one place, as one array, or as a tree of them."""
    if isinstance(parts[0], Mapping | tuple):
        return collate(parts)
    return as_array([np.asarray(as_numpy(part)) for part in parts])


def read_rows(source: Any, rows: np.ndarray, sample: Callable[[Any], Any]) -> Any:
    """Some samples of a source as one item, in which each is as a function makes it."""
    if is_table(source):
        return source[rows.tolist()]

    def read(row: int) -> Any:
        try:
            return sample(source[row])
        except Exception as error:
            error.add_note(f"Sample {row} of the data was read.")
            raise

    return collate([read(int(row)) for row in rows])


def check_columns(module: Module, table: Any, rename: Mapping[str, str]) -> None:
    """Raises TypeError if columns of a Hugging Face `Dataset` are text that no input reads."""
    features = table.features or {}
    text = [
        name
        for name in table.column_names
        if getattr(features.get(name), "dtype", None) in ("string", "large_string")
        and rename.get(name, name) not in module.program.declared
    ]
    if text:
        raise TypeError(
            f"columns {listed(text)} of the dataset are text, and no input reads them: tokenize "
            f"them, and leave them out with data.remove_columns({text[:8]})"
        )


def spread(count: int, most: int) -> np.ndarray:
    """At most so many numbers below `count`, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
