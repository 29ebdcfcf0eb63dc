"""Mutants: operators with one planted mistake each, to see whether the strategies find it.

`python tests/support/mutants.py` tells after how many examples each is found.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import jax
from hypothesis import Phase

from onnxla.ops import lookup, table
from onnxla.testing import cases, compare
from onnxla.testing.case import Case
from onnxla.testing.fuzzing import draw_examples
from onnxla.testing.outcomes import WRONG


@dataclass(frozen=True)
class Mutant:
    """An operator's source with one place changed.

    Attributes:
        what: The mistake.
        op_type: The operator that shows it.
        old: A text that occurs once in the source.
        new: What replaces it.
        module: The module of the text, if it is not the operator's own.
        against: The runtime that the mutant is compared with.
    """

    what: str
    op_type: str
    old: str
    new: str
    module: str = ""
    domain: str = ""
    against: str = "reference"

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """The operator table has the mutant within this context."""
        operator = lookup(self.domain, self.op_type, 10**6)
        assert operator is not None
        own = operator.function.__module__
        rows = {key: list(value) for key, value in table.TABLE.items()}
        modules = dict(sys.modules)
        try:
            for name in dict.fromkeys((self.module or own, own)):
                source = inspect.getsource(modules[name])
                if name == (self.module or own):
                    assert source.count(self.old) == 1, f"{self.old!r} in {name}"
                    source = source.replace(self.old, self.new)
                execute(name, source)
            yield
        finally:
            table.TABLE.clear()
            table.TABLE.update(rows)
            sys.modules.update(modules)
            jax.clear_caches()


def execute(name: str, source: str) -> None:
    """Imports a module anew from a changed source; its operators replace those in the table."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    module = ModuleType(name)
    module.__spec__ = spec
    sys.modules[name] = module
    exec(compile(source, f"mutant of {name}", "exec"), module.__dict__)


class Caught(Exception):
    pass


def caught_after(mutant: Mutant, examples: int = 200) -> int | None:
    """How many examples it takes to find a mutant; None if these do not."""
    count, first = 0, None

    def body(case: Case) -> None:
        nonlocal count, first
        count += 1
        if compare(case, "onnxla", mutant.against).kind in WRONG:
            first = first or count  # Hypothesis runs it again, to see that it fails again
            raise Caught

    strategy = cases(mutant.op_type, domain=mutant.domain)
    with mutant.planted():
        try:
            draw_examples(strategy, body, examples, seed=0, phases=(Phase.generate,))
        except Caught:
            return first
    return None


MUTANTS = [
    Mutant(
        "wrong axis sign",
        "Gather",
        "take(data, indices, axis=axis)",
        "take(data, indices, axis=-1 - axis)",
    ),
    Mutant(
        "off-by-one pad",
        "Conv",
        "(low, (out - 1) * stride + reach - (size - 1) * apart - low)",
        "(low - 1, (out - 1) * stride + reach - (size - 1) * apart - low + 1)",
        "onnxla.ops.window",
    ),
    Mutant(
        "floor for truncation",
        "Div",
        "lax.div(*jnp.broadcast_arrays(A, B))",
        "jnp.floor_divide(A, B)",
    ),
    Mutant(
        "dropped optional input",
        "Gemm",
        "return product if C is None or beta == 0 else product + scaled(C, beta)",
        "return product",
    ),
    Mutant(
        "wrong broadcast",
        "BatchNormalization",
        "old_mean.reshape(shape)) * scaled",
        "old_mean.reshape(-1)) * scaled",
    ),
    Mutant(
        "transposed gate order", "LSTM", "i, o, forget, candidate =", "i, forget, o, candidate ="
    ),
    Mutant(
        "reset gate before the product",
        "GRU",
        "    if linear_before_reset:\n",
        "    if not linear_before_reset:\n",
    ),
    Mutant(
        "ignored attribute",
        "MaxPool",
        "sizes[:axis] if storage_order else sizes[axis + 1 :]",
        "sizes[axis + 1 :]",
    ),
    Mutant(
        "inverted attribute",
        "AveragePool",
        "if count_include_pad else (0, size)",
        "if not count_include_pad else (0, size)",
    ),
    Mutant(
        "first for last index",
        "ArgMax",
        "return arg(jnp.max, data, axis, keepdims, select_last_index)",
        "return arg(jnp.max, data, axis, keepdims, 0)",
    ),
    Mutant(
        "empty axes are all axes",
        "ReduceSum",
        "if not chosen and not noop_with_empty_axes:",
        "if not chosen:",
    ),
    Mutant(
        "rounds down",
        "QuantizeLinear",
        "rint = partial(straight_through, jnp.rint) if train else m.rint",
        "rint = m.floor",
    ),
    Mutant("end of a backward slice", "Slice", "last if last >= 0 else None", "max(last, 0)"),
    Mutant(
        "pads in pairs",
        "Pad",
        "amounts[i], amounts[i + len(chosen)]",
        "amounts[2 * i], amounts[2 * i + 1]",
    ),
    Mutant(
        "smallest is largest",
        "TopK",
        "keys = x if largest else jnp.negative(x)",
        "keys = x if True else jnp.negative(x)",
    ),
    Mutant("exclusive sum from the wrong end", "CumSum", "x = x[::-1] if reverse else x", "x = x"),
    Mutant("swapped modes", "DepthToSpace", 'if mode == "DCR":', 'if mode == "CRD":'),
    Mutant(
        "mask off by one",
        "Attention",
        "bounds = [0] * bool(is_causal)",
        "bounds = [1] * bool(is_causal)",
    ),
    Mutant(
        "half a pixel",
        "Resize",
        'return (x + half) / factor - half\n        case "half_pixel_symmetric"',
        'return x / factor\n        case "half_pixel_symmetric"',
    ),
    Mutant(
        "negative index from the wrong end", "OneHot", "places + n == classes", "-places == classes"
    ),
    Mutant(
        "sample variance",
        "LayerNormalization",
        "variance = mean(lax.square(deviations), axes)",
        "variance = jnp.var(x, axes, keepdims=True, ddof=1)",
        "onnxla.ops.standardize",
    ),
    Mutant(
        "greater or equal",
        "PRelu",
        "jnp.where(X > 0, X, jnp.multiply(slope, X))",
        "jnp.where(X > -1, X, jnp.multiply(slope, X))",
    ),
    Mutant(
        "remainder with the wrong sign",
        "Mod",
        "return m.fmod(A, B) if fmod else m.remainder(A, B)",
        "return m.fmod(A, B)",
    ),
    Mutant(
        "diagonal below", "Trilu", "keep = diagonal >= k if upper", "keep = diagonal > k if upper"
    ),
    Mutant("diagonal on the other side", "EyeLike", "columns, k, dtype", "columns, -k, dtype"),
    Mutant("lost attribute", "Celu", "jax.nn.celu(X, alpha)", "jax.nn.celu(X, 1.0)"),
    Mutant("rows for columns", "SpaceToDepth", "order = (0, 3, 5, 1", "order = (0, 5, 3, 1"),
    Mutant(
        "product from the wrong end",
        "CumProd",
        "accumulate(xp(x).cumprod, 1, x, axis, exclusive, reverse)",
        "accumulate(xp(x).cumprod, 1, x, axis, exclusive, 0)",
    ),
]


def main() -> None:
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    found = 0
    for mutant in MUTANTS:
        start = time.perf_counter()
        after = caught_after(mutant)
        found += after is not None
        result = f"after {after} examples" if after else "NOT FOUND"
        seconds = time.perf_counter() - start
        print(f"{mutant.op_type}, {mutant.what}: {result} ({seconds:.0f} s)", flush=True)
    print(f"{found} of {len(MUTANTS)} found")


if __name__ == "__main__":
    main()
