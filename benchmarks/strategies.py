"""How good the strategies of onnxla.testing are: validity, speed and power.

    python benchmarks/strategies.py [OP ...] [-n 500]

For each operator: the share of examples that `onnx.checker` and strict shape inference accept, the
median time of a draw, failed health checks of Hypothesis, and the schema versions that occur.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import onnx
from hypothesis import Phase, errors, given, seed, settings
from tqdm import tqdm

from onnxla.ops.table import full_name
from onnxla.testing import Case, cases, operators
from onnxla.testing.operator_cases import select_operators


def measure(domain: str, op_type: str, examples: int) -> dict[str, object]:
    drawn: list[Case] = []
    times: list[float] = []
    last = time.perf_counter()

    def body(case: Case) -> None:
        nonlocal last
        times.append(time.perf_counter() - last)
        drawn.append(case)
        last = time.perf_counter()

    chosen = settings(max_examples=examples, database=None, phases=[Phase.generate], deadline=None)
    health = ""
    try:
        run = given(cases(op_type, domain=domain))(lambda case: body(case))
        seed(0)(chosen(run))()
    except errors.FailedHealthCheck as error:
        health = str(error).splitlines()[0]
    invalid = []
    for case in drawn:
        try:
            onnx.checker.check_model(case.model, full_check=True)
            onnx.shape_inference.infer_shapes(case.proto, check_type=True, strict_mode=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            invalid.append(f"{str(error).splitlines()[-1][-150:]} -- {case!r}")
    return {
        "valid": 1 - len(invalid) / max(len(drawn), 1),
        "examples": len(drawn),
        "median": 1000 * statistics.median(times),
        "health": health,
        "missing": sorted(set(operators()[domain, op_type]) - {case.version for case in drawn}),
        "invalid": invalid,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("operators", nargs="*")
    parser.add_argument("-n", "--examples", type=int, default=500)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results = {}
    for domain, op_type in tqdm(select_operators(arguments.operators)):
        result = measure(domain, op_type, arguments.examples)
        name = full_name(op_type, domain)
        results[name] = result
        if result["valid"] < 1 or result["median"] > 20 or result["health"] or result["missing"]:
            tqdm.write(
                f"{name}: {result['valid']:.1%} valid of {result['examples']}, "
                f"{result['median']:.1f} ms a draw, {result['health']} "
                f"versions never drawn: {result['missing']}"
            )
            for text in result["invalid"][:2]:
                tqdm.write(f"    {text}")
    low = [name for name, result in results.items() if result["valid"] < 0.95]
    slow = max(results, key=lambda name: results[name]["median"])
    print(f"{len(results)} operators, {sum(r['examples'] for r in results.values())} examples")
    print(f"below 95% valid: {low or 'none'}")
    print(f"slowest: {slow}, {results[slow]['median']:.1f} ms a draw at the median")
    print(
        f"median of the medians: {statistics.median(r['median'] for r in results.values()):.1f} ms"
    )
    print(f"failed health checks: {[n for n, r in results.items() if r['health']] or 'none'}")
    print(f"versions never drawn: {[n for n, r in results.items() if r['missing']] or 'none'}")


if __name__ == "__main__":
    main()
