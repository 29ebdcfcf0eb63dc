"""Repetition in a graph, evaluated as one loop: compile time does not grow with depth."""
