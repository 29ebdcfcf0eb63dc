"""How a graph becomes a JAX function: tracing, known values, parameters, compiled calls."""
