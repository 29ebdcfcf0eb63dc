"""Testing ONNX operators by property, in onnxla or in any other runtime.

`cases` draws valid uses of an operator with Hypothesis, `check` runs one in two runtimes:

    from hypothesis import given
    from onnxla.testing import cases, check

    @given(cases("Conv", dtypes=["float32"]))
    def test_conv(case):
        check(case, my_runtime)  # against the onnx reference evaluator

Needs the extra `testing`.
"""

from onnxla.peers.command import CommandRuntime
from onnxla.peers.isolation import Isolated, RuntimeCrashed
from onnxla.peers.itself import Onnxla
from onnxla.peers.onnx_runtime import OnnxRuntime
from onnxla.peers.protocol import NotSupported, Runtime
from onnxla.peers.reference import Reference
from onnxla.testing.baselines import Baseline
from onnxla.testing.case import Case
from onnxla.testing.draw import Draw
from onnxla.testing.fault_records import Fault, faults
from onnxla.testing.fuzzing import Fuzzed, fuzz, sample
from onnxla.testing.invalid_uses import InvalidUse, refused, wrongs
from onnxla.testing.malformed import Malformed, malformed_models
from onnxla.testing.operator_cases import cases, operators, strategy
from onnxla.testing.outcomes import Disagreement, Outcome, check, compare
from onnxla.testing.properties import PROPERTIES
from onnxla.testing.random_graphs import graphs
from onnxla.testing.refusals import Reaction, refuses
from onnxla.testing.reports.about import About
from onnxla.testing.reports.report import FuzzReport
from onnxla.testing.traceable import PropertyViolated
from onnxla.testing.types import Typed
from onnxla.testing.use import Use, example

__all__ = [
    "PROPERTIES",
    "About",
    "Baseline",
    "Case",
    "CommandRuntime",
    "Disagreement",
    "Draw",
    "Fault",
    "FuzzReport",
    "Fuzzed",
    "InvalidUse",
    "Isolated",
    "Malformed",
    "NotSupported",
    "OnnxRuntime",
    "Onnxla",
    "Outcome",
    "PropertyViolated",
    "Reaction",
    "Reference",
    "Runtime",
    "RuntimeCrashed",
    "Typed",
    "Use",
    "cases",
    "check",
    "compare",
    "example",
    "faults",
    "fuzz",
    "graphs",
    "malformed_models",
    "operators",
    "refused",
    "refuses",
    "sample",
    "strategy",
    "wrongs",
]
