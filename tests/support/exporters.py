"""Files that real exporters wrote, trained here and by the framework that wrote them.

Run as a script, it prints for each file how far the losses are apart, or why:

    PYTHONPATH=tests python tests/support/exporters.py [PATTERN...]
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import onnxla
from support import curves

FILES = curves.FOLDER / "files"
DOUBLE = hasattr(onnxla.Module, "astype")
EXPECTED_FAILURES = curves.FOLDER / "expected_failures.txt"


def contrastive(logits: Any, _: Any) -> jax.Array:
    """Each row belongs to the column of its number, and the other way round."""
    own = jnp.arange(len(logits))
    rows, columns = (onnxla.losses.cross_entropy(each, own) for each in (logits, logits.T))
    return (rows + columns) / 2


def half_mse(outputs: Any, targets: Any) -> jax.Array:
    """Half of the mean squared error, as scikit-learn has it."""
    return onnxla.losses.mean_squared_error(outputs, targets) / 2


LOSSES = {
    "cross_entropy": onnxla.losses.cross_entropy,
    "cross_entropy_probabilities": onnxla.losses.cross_entropy_probabilities,
    "mse": onnxla.losses.mean_squared_error,
    "half_mse": half_mse,
    "contrastive": contrastive,
}


@dataclass(frozen=True)
class Run:
    """Fifty steps: the losses, and the module as it is then."""

    losses: np.ndarray
    module: onnxla.Module


def cells() -> list[str]:
    """The files, as `exporter/network`."""
    return sorted(path.relative_to(FILES).with_suffix("").as_posix() for path in FILES.glob("*/*"))


def curve_of(cell: str) -> dict[str, Any]:
    """What the framework made of the network. Exporters are called `framework-exporter`."""
    exporter, network = cell.split("/")
    return curves.read(exporter.partition("-")[0], network)


def optimizer(settings: dict[str, float]) -> Any:
    """SGD with momentum, or AdamW."""
    import optax

    return (optax.sgd if "momentum" in settings else optax.adamw)(**settings)


def train(module: onnxla.Module, curve: dict[str, Any], name: str) -> Run:
    """Trains what `partition` chooses, on the same batches in the same order."""
    import optax

    rule = optimizer(curve[name]["settings"])
    trained, frozen = module.partition()

    def loss(trained: Any, frozen: Any, inputs: Any, targets: Any) -> Any:
        key = jax.random.key(0)
        outputs, updates = module.apply_train(
            {**trained, **frozen}, inputs, key=key, outputs=module.output_names[-1:]
        )
        return LOSSES[curve["loss"]](outputs, targets), updates

    @jax.jit
    def step(trained: Any, frozen: Any, state: Any, inputs: Any, targets: Any) -> Any:
        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(
            trained, frozen, inputs, targets
        )
        with jax.numpy_dtype_promotion("standard"):  # Optax multiplies by Python's numbers
            changes, state = rule.update(gradient, state, trained)
        return optax.apply_updates(trained, changes), {**frozen, **updates}, state, value

    kinds = {k: v.dtype for k, v in module.params.items()}
    data = [as_inputs(module, batch) for batch in curves.batches(curve)]
    losses = []
    with jax.enable_x64(True):
        state = rule.init(trained)
        for number in range(curves.STEPS):
            trained, frozen, state, value = step(trained, frozen, state, *data[number % len(data)])
            losses.append(float(value))
    after = {k: v for k, v in {**trained, **frozen}.items() if k in kinds}
    return Run(np.array(losses), module.replace(after))


def as_inputs(module: onnxla.Module, batch: tuple[dict[str, np.ndarray], np.ndarray]) -> Any:
    """A batch as JAX arrays, its floats as wide as the model's parameters."""
    wide = max(value.dtype for value in module.params.values())
    inputs, targets = batch
    arrays = [*inputs.values(), targets]
    with jax.enable_x64(True):
        *values, targets = (
            jnp.asarray(a, wide if a.dtype.kind == "f" else a.dtype) for a in arrays
        )
    return dict(zip(module.input_names, values, strict=True)), targets


def evaluated(module: onnxla.Module, curve: dict[str, Any]) -> np.ndarray:
    """The outputs for the first batch, as in inference."""
    inputs, _ = as_inputs(module, curves.batches(curve)[0])
    return np.asarray(list(module.run(inputs).values())[-1])


def served(module: onnxla.Module, curve: dict[str, Any]) -> np.ndarray:
    """The same, by ONNX Runtime from the saved file."""
    import onnxruntime

    arrays = curves.batches(curve)[0][0].values()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.onnx"
        module.save(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        *_, outputs = session.run(None, dict(zip(module.input_names, arrays, strict=True)))
    return np.asarray(outputs)


def compare(cell: str) -> dict[str, float]:
    """The largest differences from the framework, in units of what is allowed.

    Training is compared in double precision; losses of single precision may differ by three times
    what the framework differs from itself.
    """
    curve = curve_of(cell)
    module = onnxla.load(FILES / f"{cell}.onnx")
    found = {"initial": apart(curves.rounded(evaluated(module, curve)), curve["initial"]) / 1e-5}
    for name in ("sgd", "adamw"):
        own = curve[name]
        run = train(module.astype("float64") if DOUBLE else module, curve, name)
        band = max(own["band"], apart(own["float32"], own["losses"]), 1e-4)
        found[f"{name} losses"] = apart(run.losses, own["losses"]) / (1e-6 if DOUBLE else 3 * band)
        after = {k: run.module.params[k].astype(v.dtype) for k, v in module.params.items()}
        trained = module.replace(after)
        outputs = evaluated(trained, curve)
        different = apart(curves.rounded(outputs), own["outputs"])
        found[f"{name} outputs"] = different / (1e-4 if DOUBLE else 1e-2)
        found[f"{name} saved"] = apart(served(trained, curve), outputs) / 1e-4
    return found


def apart(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest value where that is above 1."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def expected_failures() -> dict[str, str]:
    """Reasons by cell, from a file of lines `exporter/network: reason`."""
    lines = EXPECTED_FAILURES.read_text().splitlines()
    pairs = (line.split(": ", 1) for line in lines if line and not line.startswith("#"))
    return {cell: reason for cell, reason in pairs}


def main(patterns: list[str]) -> None:
    reasons = expected_failures()
    for cell in cells():
        if not patterns or any(pattern in cell for pattern in patterns):
            try:
                found = compare(cell)
                text = ", ".join(f"{name} {value:.2g}" for name, value in found.items())
            except Exception as error:
                text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            print(f"{cell}: {text} {reasons.get(cell, '')}", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    main(sys.argv[1:])
