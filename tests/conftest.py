import os
from importlib.metadata import version

# XLA's older code generator for CPUs compiles these small programs in half the time. jaxlib 0.12
# has the newer one alone, so that the suite covers both.
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false"

import jax

# An operator must state its dtypes: no promotion happens on its own.
jax.config.update("jax_numpy_dtype_promotion", "strict")
