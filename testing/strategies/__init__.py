"""Strategies by family: each file here registers those of some operators."""
