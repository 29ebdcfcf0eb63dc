import collections
import functools
import os
import re
from pathlib import Path
from typing import Any

import pytest

# Programs once compiled are kept: two processes, two tests and two runs share them. The tests'
# own processes read these variables, too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import numpy as np
from jax._src import compiler

from support.compiling import known_options

CASTS = re.compile("cast|quantize", re.IGNORECASE)

# An operator must state its dtypes: no promotion happens on its own.
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `more` what `one_in(n)` leaves out: of a test's other cases all but every n-th.

    They are many and run once, so they are compiled `quickly`; every n-th is compiled as users do,
    and so are casts: compiled quickly, XLA makes NaN of small negative numbers in FNUZ types.
    """
    counts: collections.Counter[str] = collections.Counter()
    for item in items:
        mark = item.get_closest_marker("one_in")
        if mark is not None and item.get_closest_marker("more") is None:
            test = item.nodeid.partition("[")[0]
            if counts[test] % mark.args[0]:
                item.add_marker("more")
                if not CASTS.search(item.name):
                    item.add_marker("quickly")
            counts[test] += 1


@pytest.fixture(autouse=True)
def the_same_numbers(request: pytest.FixtureRequest) -> None:
    """Lets a file's generator `RNG` begin anew, so that no test depends on those before it."""
    rng = getattr(request.module, "RNG", None)
    if rng is not None:
        rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


@pytest.fixture(autouse=True)
def compiled_quickly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiles all that a test marked `quickly` runs as `QUICKLY` says, eager operations too."""
    if request.node.get_closest_marker("quickly") is not None:
        make, quickly = compiler.get_compile_options, known_options()

        @functools.wraps(make)
        def quick(*args: Any, env_options_overrides: Any = None, **options: Any) -> Any:
            overrides = {**quickly, **(env_options_overrides or {})}
            return make(*args, env_options_overrides=overrides, **options)

        monkeypatch.setattr(compiler, "get_compile_options", quick)
