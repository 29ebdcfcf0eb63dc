"""How tests compile programs that they run only a few times, and processes of two devices."""

# LLVM's passes, and MLIR's in what writes fused loops, are most of the time that such a program
# takes, and change nothing in its meaning.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}

# The environment of a process in which JAX has two devices.
TWO_DEVICES = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
}
