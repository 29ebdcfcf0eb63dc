import jax

# An operator must state its dtypes: no promotion happens on its own.
jax.config.update("jax_numpy_dtype_promotion", "strict")
