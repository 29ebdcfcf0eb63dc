"""How tests compile programs that they run only a few times."""

# LLVM's passes are most of the time that such a program takes, and change nothing in its meaning.
QUICKLY = {"xla_backend_optimization_level": 0}
