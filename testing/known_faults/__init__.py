"""Faults of other runtimes by family: each file here has a list `FAULTS`."""

# The versions of which they are known, unless a record has its own: no later one has been found to
# be without. A fault that a new version has mended gets `versions=">=1.32,<1.33"`.
SEEN = {
    "reference": ">=1.23.2",
    "version converter": ">=1.23.2",
    "shape inference": ">=1.23.2",
    "onnxruntime": ">=1.32",
}
