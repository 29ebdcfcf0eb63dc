"""How tests compile programs that they run only a few times, and processes of two devices."""

import functools
from typing import Any

import jax

# LLVM's passes, and MLIR's in what writes fused loops, are most of the time that such a program
# takes, and change nothing in its meaning.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}


@functools.cache
def known_options() -> dict[str, Any]:
    """Those of `QUICKLY` that this version of XLA has: that of jaxlib 0.12 lacks the last."""

    def is_known(name: str) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options={name: QUICKLY[name]}).lower().compile()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return {name: value for name, value in QUICKLY.items() if is_known(name)}


def devices(count: int) -> dict[str, str]:
    """The environment of a process in which JAX has so many devices."""
    flags = f"--xla_force_host_platform_device_count={count}"
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


TWO_DEVICES = devices(2)
