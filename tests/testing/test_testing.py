"""The tools of onnxla.testing: cases and their files, comparison, runtimes, fuzzing, the plugin."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxla
from onnxla.commands import main as cli
from onnxla.ops import table
from onnxla.peers.difference import Tolerance
from onnxla.peers.protocol import RuntimeFailed
from onnxla.peers.runtimes import named, safely_named
from onnxla.testing import (
    Case,
    Disagreement,
    Fault,
    Isolated,
    NotSupported,
    Onnxla,
    OnnxRuntime,
    Reference,
    Runtime,
    RuntimeCrashed,
    Typed,
    cases,
    check,
    compare,
    example,
    fuzz,
    operators,
)
from onnxla.testing.fuzzing import draw_examples
from onnxla.testing.operator_cases import STRATEGIES, select_operators
from onnxla.testing.properties import of_onnxla
from onnxla.testing.runtime_properties import outputs_are_as_inferred
from onnxla.testing.traceable import PropertyViolated
from onnxla.testing.types import type_of, type_proto, type_string
from support.small_runtimes import Breaking, Doubling

ONE = np.ones(2, np.float32)


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": np.array([1.5, np.nan, -0.0], np.float32)},
        {"x": np.array(["a", "é", ""], object)},
        {"x": np.zeros((2, 0, 3), np.int8)},
        {"x": np.array([1, 2], ml_dtypes.bfloat16)},
        {"x": np.array([1, -2], ml_dtypes.int4)},
        {"x": [np.ones(2, np.float16), np.zeros((0, 1), np.float16)]},
        {"x": [], "y": None},
        {"x": {1: 0.5, -3: 2.0}},
        {"x": np.array([True]), "y": np.array(2 + 1j, np.complex64)},
    ],
    ids=lambda inputs: "-".join(type(v).__name__ for v in inputs.values()),
)
def test_a_saved_case_is_the_same_case(tmp_path: Path, inputs: dict[str, Any]) -> None:
    def kind(value: Any) -> str:
        if value is None:
            return "optional(tensor(float))"
        if isinstance(value, dict):
            return "map(int64,float)"
        return "seq(tensor(float))" if isinstance(value, list) and not value else type_of(value)

    values = [helper.make_value_info(n, type_proto(kind(v))) for n, v in inputs.items()]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "g", values, [])
    model = helper.make_model(graph).SerializeToString()
    tolerance = Tolerance(scaled=1e-3, random=True)
    case = Case(model, inputs, tolerance, batch=("x",))
    case.save(tmp_path / "a.b" / "Op-1.2")
    loaded = Case.load(tmp_path / "a.b" / "Op-1.2.onnx")
    assert repr(loaded) == repr(case)
    assert (loaded.model, loaded.tolerance, loaded.batch) == (model, tolerance, ("x",))
    for name, value in inputs.items():
        got = loaded.inputs[name]
        assert type(got) is type(value)
        if isinstance(value, np.ndarray):
            assert got.dtype == value.dtype
            np.testing.assert_array_equal(got, value)


def test_a_case_with_the_inputs_of_another_model_is_refused(tmp_path: Path) -> None:
    example("Neg", 13, ONE).save(tmp_path / "a")
    example("Add", 14, ONE, ONE).save(tmp_path / "b")
    (tmp_path / "b.npz").rename(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"the model has no input '[AB]'"):
        Case.load(tmp_path / "a")


@pytest.mark.parametrize("op_type", ["Conv", "Cast", "ReduceSum", "StringNormalizer", "Loop"])
def test_a_script_rebuilds_the_case(op_type: str) -> None:
    """With its model, and inputs that are bit for bit the same."""

    def body(case: Case) -> None:
        scope: dict[str, Any] = {}
        text = case.script().replace("print(ReferenceEvaluator(model).run(None, inputs))", "")
        exec(text, scope)
        rebuilt = onnx.ModelProto.FromString(scope["model"].SerializeToString())
        for model in (rebuilt, original := onnx.load_from_string(case.model)):
            model.ClearField("producer_name")
            for value in [*model.graph.input, *model.graph.output]:  # unnamed sizes
                for dim in value.type.tensor_type.shape.dim:
                    if not dim.dim_value and not dim.dim_param:
                        dim.Clear()
            for tensor in model.graph.initializer:
                array = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        assert rebuilt.graph.input == original.graph.input
        assert rebuilt.graph.initializer == original.graph.initializer
        assert [n.op_type for n in rebuilt.graph.node] == [n.op_type for n in original.graph.node]
        for name, value in case.inputs.items():
            got = scope["inputs"][name]
            if isinstance(value, np.ndarray):
                assert (got.dtype, got.shape) == (value.dtype, value.shape)
                assert got.tolist() == value.tolist() or value.tobytes() == got.tobytes()

    draw_examples(cases(op_type), body, 30, seed=0)


@pytest.mark.parametrize(
    "text",
    [
        "tensor(float)",
        "tensor(bfloat16)",
        "seq(tensor(string))",
        "optional(seq(tensor(int64)))",
        "map(string,tensor(float))",
        "seq(map(int64,tensor(float)))",
        "sparse_tensor(double)",
    ],
)
def test_type_strings(text: str) -> None:
    assert type_string(type_proto(text)) == text


def test_type_strings_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"'list\(float\)' is no ONNX type"):
        type_proto("list(float)")


def test_cases_of_what_does_not_exist() -> None:
    with pytest.raises(KeyError, match=r"no strategy for the operator ai\.onnx\.Nonsense"):
        cases("Nonsense")
    with pytest.raises(KeyError, match=r"ai\.onnx\.Attention does not exist in opset 9"):
        cases("Attention", opset=9)


def test_options_of_cases() -> None:
    seen: set[Any] = set()

    def body(case: Case) -> None:
        assert case.version == 13  # the newest not above 13
        seen.add(case.operands[0].dtype)
        values = case.operands[0].astype(np.float64)
        seen.update(["nan"] if np.isnan(values).any() else [])

    options = {"opset": 13, "dtypes": ["float16", np.float64]}
    draw_examples(cases("Add", **options), body, 50, seed=0)  # type: ignore[arg-type]
    assert seen == {np.dtype(np.float16), np.dtype(np.float64)}
    draw_examples(cases("Add", **options, specials=True), body, 50, seed=0)  # type: ignore[arg-type]
    assert "nan" in seen


@pytest.mark.parametrize("op_type", ["Add", "Concat", "Reshape", "Slice", "MatMul"])
def test_cases_for_a_runtime_with_limits(op_type: str) -> None:
    """No empty axes, no scalars, and operands where the runtime takes them."""

    def body(case: Case) -> None:
        values = [value for value in case.operands if value is not None]
        assert not any(value.ndim == 0 or value.size == 0 for value in values)
        assert len(case.proto.graph.initializer) == (0 if fed else len(values))

    fed = True
    limits = {"empty": False, "scalars": False}
    draw_examples(cases(op_type, operands="fed", **limits), body, 30, seed=0)  # type: ignore[arg-type]
    fed = False
    draw_examples(cases(op_type, operands="stored", **limits), body, 30, seed=0)  # type: ignore[arg-type]


def test_cases_of_a_range_of_opsets() -> None:
    """The schema that holds in its first opset, and those that come up to its last."""
    seen: set[int] = set()
    draw_examples(cases("Cast", (10, 21)), lambda case: seen.add(case.version), 60, seed=0)
    assert seen == {9, 13, 19, 21}
    assert select_operators(["Gelu", "Elu"], (13, 20)) == [("", "Gelu"), ("", "Elu")]
    with pytest.raises(ValueError, match="'Gelu' has no schema version up to opset 19"):
        select_operators(["Gelu"], (13, 19))


def test_what_no_case_can_be() -> None:
    with pytest.raises(ValueError, match="no case of Range is found with scalars=False"):
        cases("Range", scalars=False)
    with pytest.raises(ValueError, match="operands must be one of any, fed, stored, got 'all'"):
        cases("Range", operands="all")
    with pytest.raises(ValueError, match=r"opset must be a range such as .*, got \(21, 13\)"):
        cases("Range", (21, 13))


def test_outcomes() -> None:
    neg = example("Neg", 13, ONE)
    assert compare(neg).kind == "agreed"
    assert compare(neg, Doubling()).kind == "disagreed"
    assert compare(neg, "onnxla", Doubling()).kind == "disagreed"
    one, three, four = (example("Neg", 13, np.float32([n])) for n in (1, 3, 4))
    assert compare(three, Breaking()).kind == "unsupported"
    assert compare(three, "onnxla", Breaking()).kind == "not judged"
    assert compare(four, Breaking()).kind == "failed"
    assert compare(four, "onnxla", Breaking()).detail == "breaking: ZeroDivisionError: oh"
    isolated = Isolated(Breaking(), timeout=5.0)
    outcome = compare(one, isolated)
    assert outcome.kind == "failed"
    assert "breaking took its process down: SIGSEGV" in outcome.detail
    assert outcome.crashed
    isolated.close()


def test_an_isolated_runtime_starts_again() -> None:
    isolated = Isolated(Breaking(), timeout=10.0)
    model = example("Neg", 13, ONE).model
    assert isinstance(isolated, Runtime)
    assert isolated.run(model, {"X": np.float32(0)}) == [7]
    with pytest.raises(RuntimeCrashed, match="SIGSEGV"):
        isolated.run(model, {"X": np.float32(1)})
    assert isolated.run(model, {"X": np.float32(0)}) == [7]
    isolated.timeout = 0.5
    with pytest.raises(RuntimeCrashed, match=r"did not answer in 0\.5 s"):
        isolated.run(model, {"X": np.float32(2)})
    isolated.timeout = 30.0
    with pytest.raises(NotSupported, match="no"):
        isolated.run(model, {"X": np.float32(3)})
    with pytest.raises(RuntimeFailed, match="ZeroDivisionError: oh"):
        isolated.run(model, {"X": np.float32(4)})
    isolated.close()


def test_runtimes_by_name() -> None:
    for name in ("onnxla", "reference", "onnxruntime"):
        assert named(name).name == safely_named(name).name == name
    assert isinstance(safely_named("onnxruntime"), Isolated)
    with pytest.raises(ValueError, match="no runtime is named 'glow'; there are onnxla,"):
        named("glow")


@pytest.mark.parametrize(
    "dtype",
    [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4, ml_dtypes.uint4, np.float16],
)
def test_onnx_runtime_takes_narrow_types(dtype: Any) -> None:
    """Which its Python interface does not; inputs here, outputs below."""
    x = np.array([1, 2, 3, 0]).astype(dtype)
    if dtype in (np.float16, ml_dtypes.bfloat16):
        case = example("Cast", 13, x, to=TensorProto.FLOAT, types={"y0": "tensor(float)"})
    else:
        case = example("DequantizeLinear", 21, x, np.float32(1))
    (output,) = OnnxRuntime().run(case.model, case.inputs)
    assert output.tolist() == [1, 2, 3, 0]


def test_onnx_runtime_gives_narrow_types() -> None:
    one, zero = np.float32(1), np.array(0, ml_dtypes.int4)
    case = example("QuantizeLinear", 21, np.float32([1, -2]), one, zero)
    (output,) = OnnxRuntime().run(case.model, case.inputs)
    assert output.dtype == ml_dtypes.int4
    assert output.tolist() == [1, -2]


def test_onnx_runtime_takes_narrow_types_that_are_read_further_on() -> None:
    """By other nodes and by subgraphs, where an output of the model is an intermediate value."""
    branch = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["h"], ["b"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["a", "b"], ["z"]),
        ],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["x"], ["h"]),
            helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [2]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("h", TensorProto.BFLOAT16, [2]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [2]),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    inputs = {"x": np.array([1, 2], ml_dtypes.bfloat16), "c": np.array(True)}
    h, y = OnnxRuntime().run(model, inputs)
    assert (h.dtype, h.tolist(), y.tolist()) == (ml_dtypes.bfloat16, [1, 2], [2, 4])


def test_known_evaluation_is_a_runtime_too() -> None:
    case = example("Add", 14, ONE, ONE)
    assert compare(case, Onnxla(known=True), Onnxla()).kind == "agreed"


def test_a_failing_check_says_all(tmp_path: Path) -> None:
    case = example("Neg", 13, ONE)
    disagrees = "doubling disagrees with onnxla and reference and onnxruntime"
    with pytest.raises(Disagreement, match=disagrees) as caught:
        check(case, Doubling(), save=tmp_path)
    message = str(caught.value)
    assert "Case(ai.onnx.Neg-13, X=float32[2]:[1.0, 1.0])" in message
    assert "helper.make_node('Neg', ['X'], ['y0'])" in message
    assert Case.load(tmp_path / "Neg-13").model == case.model


def test_a_known_fault_is_no_disagreement() -> None:
    case = example("Neg", 13, ONE)
    fault = Fault("doubling", "Neg", "doubles", "The text says -x.", lambda c: True, lambda: case)
    outcome = check(case, Doubling(), faults=[fault])
    assert (outcome.kind, outcome.fault) == ("known fault", fault)
    assert fault.title == "doubling: Neg doubles"
    elsewhere = Fault("doubling", "Neg", "", "", lambda c: c.version < 13, lambda: case)
    with pytest.raises(Disagreement):
        check(case, Doubling(), faults=[elsewhere])


def test_fuzzing_counts_and_finds_the_simplest_case() -> None:
    result = fuzz("Neg", Doubling(), examples=50, dtypes=["float32"])
    assert result.counts.total() == 50
    assert not result.ok
    (finding,) = result.findings
    assert finding.count == result.counts["disagreed"]
    # The smallest number on the grid that is not its double.
    assert [x.item() for x in finding.case.inputs.values()] in ([0.125], [-0.125])
    again = fuzz("Neg", Doubling(), examples=50, dtypes=["float32"])
    assert again.counts == result.counts
    assert again.findings[0].reproducer == finding.reproducer
    assert fuzz("Neg", "onnxla", Reference(), examples=20).ok


def test_the_documented_runtime() -> None:
    """It takes less than twenty lines, and what is said of it is true."""
    text = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    (code,) = re.findall(r"```python\n# tiny.py\n(.*?)```", text, re.DOTALL)
    assert len(code.strip().splitlines()) < 20
    scope: dict[str, Any] = {}
    exec(code, scope)
    tiny = scope["Tiny"]()
    assert fuzz("Neg", tiny, "onnxla", examples=50).counts == {"agreed": 50}
    assert fuzz("Mul", tiny, "onnxla", examples=50, opset=14).ok
    result = fuzz("Add", tiny, "onnxla", examples=100, opset=6)
    assert all(finding.case.version == 6 for finding in result.findings)
    assert any("axis" in finding.case.attributes for finding in result.findings)
    assert fuzz("Abs", tiny, "onnxla", examples=5).counts == {"unsupported": 5}


def test_the_documented_strategies() -> None:
    root = Path(__file__).parents[2]
    operators()  # has the families' own strategies, before others replace them
    before = dict(STRATEGIES)
    scope: dict[str, Any] = {"onnxla": onnxla, "jax": jax, "np": np}
    try:
        for name, start in (
            ("README.md", '@onnxla.op("MyOp"'),
            ("docs/testing.md", '@strategy("MyOp"'),
            ("docs/adding_an_operator.md", '@strategy("Gather")'),
        ):
            blocks = re.findall(r"```python\n(.*?)```", (root / name).read_text(), re.DOTALL)
            (code,) = [block for block in blocks if start in block]
            exec(code, scope)
        assert fuzz("MyOp", "onnxla", "properties", domain="my.domain", examples=5).ok
        assert fuzz("Gather", "onnxla", "reference", examples=50).counts == {"agreed": 50}
    finally:
        STRATEGIES.clear()
        STRATEGIES.update(before)
        table.TABLE.pop(("my.domain", "MyOp"))


def test_fuzz_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, saved = tmp_path / "report.html", tmp_path / "saved"
    arguments = ["fuzz", "Neg", "Bitwise*", "-n", "5", "--report", str(page)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "onnxla against reference and onnxruntime: 25 cases of 5 operators" in printed
    assert ": all agree" in printed
    assert "BitwiseXor" in page.read_text()
    runtime = ["--runtime", "support.small_runtimes:Doubling", "--save", str(saved)]
    assert cli.main(["fuzz", "Neg", "-n", "10", "--report", str(page), *runtime]) == 1
    printed = capsys.readouterr().out
    assert "doubling against onnxla and reference and onnxruntime" in printed
    assert "helper.make_node('Neg'" in printed
    assert "helper.make_node(&#x27;Neg&#x27;" in page.read_text()
    assert Case.load(next(saved.glob("*.onnx"))).op_type == "Neg"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Convv"], "no operator is named 'Convv'; did you mean 'Conv'?"),
        (["Neg", "--against", "glow"], "no runtime is named 'glow'"),
        (
            ["Neg", "--runtime", "support.small_runtimes:Nobody"],
            "no runtime is named 'support.small_runtimes:Nobody'",
        ),
        (
            ["Neg", "--runtime", "support.small_runtimes:NUMBER"],
            "is no runtime: it needs `name` and `run",
        ),
        (["Neg", "-n", "0"], "argument -n/--examples: must be at least 1, got '0'"),
        (["Neg", "--changed"], "--changed needs the file of an earlier run"),
        (["Neg", "--database", __file__], "--database takes a folder"),
        (
            ["Neg", "--against", "reference", "--against", "properties"],
            "'properties' is no runtime that judges, and stands alone",
        ),
    ],
)
def test_mistakes_on_the_command_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main(["fuzz", *arguments])
    except SystemExit as error:  # argparse's way
        code = int(str(error.code))
    assert code == 2
    assert message in capsys.readouterr().err


def test_the_plugin_reports_and_saves(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["onnxla.testing.plugin"]')
    (tmp_path / "test_runtime.py").write_text(
        """
from onnxla.testing import Reference, check
from onnxla.testing.pytest import for_operators

class Wrong:
    name = "wrong"
    def run(self, model, inputs):
        return [-y for y in Reference().run(model, inputs)]

@for_operators("Neg", "Abs", dtypes=["float32"])
def test_wrong(case, tmp_path):
    check(case, Wrong())

@for_operators("Neg", examples=3)
def test_right(case):
    check(case)

class Nothing:
    name = "nothing"
    def run(self, model, inputs):
        raise NotImplementedError("nothing at all")

@for_operators("Neg", examples=3)
def test_nothing(case):
    check(case, Nothing())
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", "test_runtime.py", "-p", "no:cacheprovider"]
    options = ["--onnxla-save=saved", "--onnxla-examples=10"]
    options += ["--onnxla-report=report.txt", "--onnxla-report=report.md"]
    result = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "2 failed, 1 passed, 1 skipped" in result.stdout
    assert "wrong disagrees with onnxla" in result.stdout
    assert "10 cases fail like this" in result.stdout
    report = (tmp_path / "report.txt").read_text()
    assert "disagreed: output 'y0'" in report
    assert "tested: Neg" in (tmp_path / "report.md").read_text()
    saved = (tmp_path / "saved").glob("*.npz")
    assert {path.name.partition("-")[0] for path in saved} == {"Neg", "Abs"}


def test_the_core_needs_no_extra() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import onnxla.commands.main"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_values_whose_type_does_not_show() -> None:
    case = example("SequenceLength", 11, Typed("seq(tensor(float))", []))
    assert compare(case).kind == "agreed"
    with pytest.raises(TypeError, match="an empty sequence must be Typed"):
        example("SequenceLength", 11, [])


def test_an_output_type_that_nothing_tells() -> None:
    with pytest.raises(TypeError, match="the type T2 of output 'output' follows from no input"):
        example("Cast", 25, ONE, to=TensorProto.INT32)
    assert (
        compare(example("Cast", 25, ONE, to=TensorProto.INT32, types={"y0": "tensor(int32)"})).kind
        == "agreed"
    )


@pytest.mark.parametrize("output_shape", [[2, 4], [4, 3], [2, 3]])
def test_a_shape_that_inference_leaves_half_made(output_shape: list[int]) -> None:
    """ONNX infers no axis from the first on that is shorter than the input's."""
    x, w = np.ones((1, 1, 3, 4), np.float32), np.ones((1, 1, 2, 2), np.float32)
    case = example("ConvTranspose", 22, x, w, output_shape=output_shape)
    dims = case.proto.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims][1:] == [1, *output_shape]
    assert not of_onnxla(outputs_are_as_inferred)(case)  # it is on record
    assert compare(case, "onnxla", "onnxruntime").kind == "agreed"


def test_a_stated_shape_is_compared_too() -> None:
    model = example("Neg", 13, ONE).proto
    model.graph.output[0].type.tensor_type.shape.dim.add(dim_value=1)
    with pytest.raises(PropertyViolated, match=r"'y0' has shape \[2\], stated \[2, 1\]"):
        of_onnxla(outputs_are_as_inferred)(Case(model.SerializeToString(), {"X": ONE}))
