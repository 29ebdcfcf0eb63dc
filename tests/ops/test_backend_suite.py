"""Every case of the ONNX backend suite, compiled where shapes allow, and on known values."""

from __future__ import annotations

import pytest

from support.backend_suite import cases, expected_failures, run_case

FAILURES = expected_failures()


def parameters() -> list:
    return [
        pytest.param(
            name, marks=pytest.mark.xfail(reason=FAILURES[name]) if name in FAILURES else ()
        )
        for name in cases()
    ]


def of_several_nodes() -> list[str]:
    """Nothing of a single node can be rolled or recognized."""
    return [name for name, case in cases().items() if case.nodes > 1 and name not in FAILURES]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", parameters())
@pytest.mark.parametrize(
    "known",
    [False, pytest.param(True, marks=[pytest.mark.more, pytest.mark.quickly])],
    ids=["called", "known"],
)
def test_case(name: str, known: bool) -> None:
    run_case(cases()[name], known)


@pytest.mark.more
@pytest.mark.quickly
@pytest.mark.parametrize("name", of_several_nodes())
@pytest.mark.parametrize("option", [{"roll": True}, {"recognize": False}], ids=str)
def test_case_in_other_ways(name: str, option: dict[str, bool]) -> None:
    run_case(cases()[name], **option)


def test_expected_failures_exist() -> None:
    assert not set(FAILURES).difference(cases())
