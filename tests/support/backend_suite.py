"""The ONNX backend suite as plain cases. Run as a script, it prints how many pass, and why not."""

from __future__ import annotations

import collections
import functools
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from support.lowering import edited

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
EXPECTED_FAILURES = Path(__file__).parent / "backend_expected_failures.txt"


@dataclass(frozen=True)
class Case:
    name: str
    model: bytes
    data_sets: list[tuple[list[Any], list[Any]]]
    rtol: float
    atol: float

    @property
    def nodes(self) -> int:
        """How many nodes there are, in subgraphs and functions, too."""
        import onnx

        def count(nodes: Any) -> int:
            graphs = [a.g for node in nodes for a in node.attribute if a.type == a.GRAPH]
            return len(nodes) + sum(count(graph.node) for graph in graphs)

        model = onnx.load_from_string(self.model)
        return count(model.graph.node) + sum(count(f.node) for f in model.functions)


@functools.cache
def cases() -> dict[str, Case]:
    """All cases by `kind/name`."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite's own generators divide by zero
        tests = [(kind, test) for kind in KINDS for test in load_model_tests(kind=kind)]
    found = {}
    for kind, test in tests:
        model = test.model.SerializeToString() if test.model else read_model(test.model_dir)
        sets = test.data_sets or read_data(Path(test.model_dir), model)
        data = [(list(map(to_array, a)), list(map(to_array, b))) for a, b in sets]
        name = f"{kind}/{test.name}"
        found[name] = Case(name, model, data, test.rtol, test.atol)
    return found


def read_model(folder: str) -> bytes:
    return (Path(folder) / "model.onnx").read_bytes()


def read_data(folder: Path, model_bytes: bytes) -> list[tuple[list[Any], list[Any]]]:
    import onnx

    graph = onnx.load_from_string(model_bytes).graph
    sets = []
    for data in sorted(folder.glob("test_data_set*")):
        files = [sorted(data.glob(f"{kind}_*.pb"), key=number) for kind in ("input", "output")]
        values = (graph.input, graph.output)
        sets.append(
            tuple(
                [read_value(f, v.type) for f, v in zip(fs, vs, strict=False)]
                for fs, vs in zip(files, values, strict=True)
            )
        )
    return sets


def number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def read_value(path: Path, kind: Any) -> Any:
    import onnx
    from onnx import numpy_helper

    which = kind.WhichOneof("value")
    message, convert = {
        "tensor_type": (onnx.TensorProto, numpy_helper.to_array),
        "sequence_type": (onnx.SequenceProto, numpy_helper.to_list),
        "optional_type": (onnx.OptionalProto, numpy_helper.to_optional),
    }[which]
    return convert(message.FromString(path.read_bytes()))


def to_array(value: Any) -> Any:
    from onnx import TensorProto, numpy_helper

    if isinstance(value, list | tuple):
        return [to_array(v) for v in value]
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def assert_same(expected: Any, got: Any, rtol: float, atol: float) -> None:
    """Exact dtype and shape, and values within the suite's official tolerances."""
    from onnx.backend.test.runner import Runner

    def check(expected: Any, got: Any) -> None:
        if isinstance(expected, list | tuple):
            assert isinstance(got, list | tuple)
            for a, b in zip(expected, got, strict=True):
                check(a, b)
        elif expected is None:
            assert got is None
        else:
            Runner.assert_similar_outputs([np.asarray(expected)], [np.asarray(got)], rtol, atol)

    check(expected, got)


def run_case(case: Case, known: bool = False, **options: Any) -> bool:
    """Runs a case, compiled where its shapes allow; or, if `known`, on known values throughout.

    Options are fields of its program; where XLA gets the same of it, nothing runs. Returns whether
    it was compiled.
    """
    import onnxla

    module = onnxla.load(case.model)
    if options and (other := edited(module, **options)) is not None:
        module = other
    elif options:
        return True
    for inputs, expected in case.data_sets:
        result = module.apply(module.params, *inputs) if known else module(*inputs)
        got = [result] if len(module.output_names) == 1 else result
        assert_same(expected, got, case.rtol, case.atol)
    return not module.program.data_dependent


def expected_failures(numpy: str = np.__version__) -> dict[str, str]:
    """Reasons by case name, from a file of lines `kind/name: reason`.

    A name may be followed by the oldest version of `numpy` that it holds for, as `[numpy 2.5]`.
    """
    reasons = {}
    for line in EXPECTED_FAILURES.read_text().splitlines():
        if line and not line.startswith("#"):
            where, reason = line.split(": ", 1)
            name, _, since = where.partition(" [numpy ")
            if np.lib.NumpyVersion(numpy) >= f"{since.rstrip(']') or '0.0'}.0":
                reasons[name] = reason
    return reasons


def main(patterns: list[str]) -> None:
    import jax

    jax.config.update("jax_numpy_dtype_promotion", "strict")
    counts: collections.Counter[str] = collections.Counter()
    for name, case in cases().items():
        if patterns and not any(pattern in name for pattern in patterns):
            continue
        for known in (False, True):
            label = "known" if known else "called"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    compiled = run_case(case, known)
                counts[label + " passed"] += 1
                counts["of these compiled"] += compiled and not known
            except Exception as error:
                counts[label + " failed"] += 1
                text = " ".join(str(error).split())[:160]
                print(f"{label:6} {name}: {type(error).__name__}: {text}", flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main(sys.argv[1:])
