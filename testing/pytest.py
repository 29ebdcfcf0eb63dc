"""For pytest: one test of each operator, on many cases."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxla.ops.table import full_name
from onnxla.testing import outcomes
from onnxla.testing.case import Case
from onnxla.testing.fuzzing import MOST, Fuzzed, Search, seed_of
from onnxla.testing.operator_cases import cases, select_operators
from onnxla.testing.outcomes import Disagreement, Outcome, one_line

# The name under which a test says what came of its cases.
PROPERTY = "onnxla"


def outcome_in(test: Callable[..., Any]) -> Callable[[Case], Outcome]:
    """What came of a case in a test of it: what `check` found there, or what else went wrong."""

    def run(case: Case) -> Outcome:
        seen: list[Outcome] = []
        observe = lambda outcome, _: seen.append(outcome)  # noqa: E731
        outcomes.OBSERVERS.append(observe)
        try:
            test(case=case)
        except Disagreement as error:
            return error.outcome
        except pytest.skip.Exception as reason:
            return Outcome("unsupported", str(reason))
        except Exception as error:
            return Outcome("failed", one_line(error))
        finally:
            outcomes.OBSERVERS.remove(observe)
        return next((each for each in seen if each.kind != "agreed"), Outcome("agreed"))

    return run


def fail(result: Fuzzed, test: Callable[..., Any]) -> None:
    """Fails as the test does on the simplest case of the first finding, and tells the others."""
    first, *others = result.findings
    notes = [f"{first.count} of {result.counts.total()} cases fail like this"]
    notes += [
        f"another finding, {each.count} cases, {each.title}: {each.case!r}" for each in others
    ]
    try:
        test(case=first.case)
    except Exception as error:
        for note in notes:
            error.add_note(note)
        raise
    pytest.fail(f"{first.title}, but not once more: {first.case!r}")


def for_operators(*patterns: str, examples: int = 20, **options: Any) -> Callable[..., Any]:
    """Makes a test of a `case` one test of each operator, on many cases of it.

    For example:

        @onnxla.testing.pytest.for_operators("Conv", "Reduce*", dtypes=["float32"])
        def test_my_runtime(case):
            onnxla.testing.check(case, "onnxla", "reference")

    The cases are the same in every run. With the plugin, `--onnxla-examples` and `--onnxla-seed`
    change them, `--onnxla-save` keeps what fails, `--onnxla-report` tells all outcomes. The test of
    an operator that the runtime does not support in any case is skipped.

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
            count, seed = option("--onnxla-examples") or examples, option("--onnxla-seed") or 0
            name = full_name(op_type, domain)
            own = seed_of(name, seed)
            search = Search(strategy, outcome_in(given), Fuzzed(name), count, own)
            result = search.run(MOST)
            request.node.user_properties.append((PROPERTY, json.dumps(result.record())))
            for finding in result.findings:
                if (saved := option("--onnxla-save")) is not None:
                    finding.case.save(Path(saved) / finding.signature.key)
            if result.findings:
                fail(result, given)
            if {*result.counts} == {"unsupported"}:
                pytest.skip(result.details["unsupported"])

        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        return run

    return decorate
