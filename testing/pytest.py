"""For pytest: one test of each operator, on many cases."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxla.ops.table import full_name
from onnxla.testing import outcomes
from onnxla.testing.case import Case
from onnxla.testing.fuzzing import Fuzzed, draw_examples, forget_programs
from onnxla.testing.operator_cases import cases, select_operators

# The name under which a test says what came of its cases.
PROPERTY = "onnxla"


def for_operators(*patterns: str, examples: int = 20, **options: Any) -> Callable[..., Any]:
    """Makes a test of a `case` one test of each operator, on many cases of it.

        @for_operators("Conv", "Reduce*", dtypes=["float32"])
        def test_my_runtime(case):
            check(case, MyRuntime())

    The cases are the same in every run. With the plugin, `--onnxla-examples` and `--onnxla-seed`
    change them, `--onnxla-save` keeps what fails, `--onnxla-report` tells all outcomes.

    Args:
        *patterns: Names of operators, or patterns such as `com.microsoft.*`; all if there are none.
        examples: How many cases of each.
        **options: Those of `cases`, such as `opset`, `dtypes` and `scalars`.
    """

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        found = select_operators(list(patterns), options.get("opset"))
        ids = [full_name(name, domain) for domain, name in found]
        fixtures = [name for name in inspect.signature(test).parameters if name != "case"]

        @pytest.mark.parametrize(("domain", "op_type"), found, ids=ids)
        def run(domain: str, op_type: str, request: pytest.FixtureRequest) -> None:
            option = functools.partial(request.config.getoption, default=None)
            given = functools.partial(test, **{n: request.getfixturevalue(n) for n in fixtures})
            strategy = cases(op_type, domain=domain, **options)
            count = option("--onnxla-examples") or examples
            result = Fuzzed(op_type, domain)
            saved: Path | None = option("--onnxla-save")

            def body(case: Case) -> None:
                try:
                    given(case=case)
                except Exception as error:
                    result.fail(case, (str(error) or type(error).__name__).splitlines()[0])
                    if saved is not None:
                        case.save(saved / f"{domain or 'ai.onnx'}.{op_type}-{case.version}")
                    raise

            outcomes.OBSERVERS.append(result.add)
            try:
                draw_examples(strategy, body, count, option("--onnxla-seed") or 0)
            finally:
                outcomes.OBSERVERS.remove(result.add)
                forget_programs()
                record = {k: v for k, v in vars(result).items() if k != "case"}
                counters = ("counts", "known", "not_applied")
                record |= {name: dict(record[name]) for name in counters}
                request.node.user_properties.append((PROPERTY, record))

        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        return run

    return decorate
