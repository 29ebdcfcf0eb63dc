"""Faults of other runtimes by family: each file here has a list `FAULTS`."""
