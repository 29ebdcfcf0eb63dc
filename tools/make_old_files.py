"""Makes the files in `tests/support/old_files`: `python tools/make_old_files.py FOLDER`.

Run it with the version of onnxla whose files are wanted, once, when that version is released: tests
load the files ever after. The folder gets a model, adapters of it, and the checkpoint of a run.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import optax
from onnx import parser

import onnxla

MODEL = """<ir_version: 9, opset_import: ["": 20]> old (float[N, 6] x) => (float[N, 3] y) {
    h = MatMul (x, w)
    a = LeakyRelu <alpha = 0.25> (h)
    y = MatMul (a, v)
}"""


def old_model() -> onnxla.Module:
    """A model with two weights, and an attribute that matters."""
    from onnx import numpy_helper

    rng = np.random.default_rng(0)
    model = parser.parse_model(MODEL)
    for name, shape in (("w", (6, 8)), ("v", (8, 3))):
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return onnxla.load(model)


def old_data() -> tuple[np.ndarray, np.ndarray]:
    """Samples and labels."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((16, 6)).astype(np.float32), rng.integers(0, 3, 16)


def old_run(module: onnxla.Module, epochs: int, checkpoint: Path | None) -> onnxla.FitResult:
    """A run that goes on from the folder's last checkpoint."""
    return onnxla.fit(
        module,
        old_data(),
        "cross_entropy",
        epochs=epochs,
        batch_size=8,
        optimizer=optax.sgd(0.1, momentum=0.9),
        checkpoint=checkpoint,
        progress=False,
    )


def main(folder: Path) -> None:
    """Writes the files."""
    folder.mkdir(parents=True, exist_ok=True)
    module = old_model()
    module.save(folder / "model.onnx")
    tuned = onnxla.fit(
        module.lora("w", rank=2), old_data(), "cross_entropy", steps=4, progress=False
    ).module
    tuned.save_adapters(folder / "adapters.safetensors")
    np.save(folder / "adapted.npy", np.asarray(tuned(old_data()[0])))
    with tempfile.TemporaryDirectory() as scratch:
        old_run(module, 1, Path(scratch) / "checkpoint")
        with zipfile.ZipFile(folder / "checkpoint.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(scratch).rglob("*")):
                archive.write(path, path.relative_to(scratch))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
