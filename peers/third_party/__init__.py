"""Adapters of other runtimes, each in a file that needs numpy and its own package alone.

The same file is run by this interpreter or by that of another environment, so it imports nothing of
onnxla. What a runtime does not implement is a NotImplementedError.
"""
