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
EDITS = ("untie", "tie")
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


def cells() -> list[str]:
    """The files, as `exporter/network`."""
    return sorted(path.relative_to(FILES).with_suffix("").as_posix() for path in FILES.glob("*/*"))


def curve_of(cell: str) -> dict[str, Any]:
    """What the framework made of the network. Exporters are called `framework-exporter`."""
    exporter, network = cell.split("/")
    return curves.read(exporter.partition("-")[0], network)


def optimizer(settings: dict[str, float]) -> Any:
    """SGD with momentum, or AdamW, from settings by Optax's names."""
    import optax

    return (optax.sgd if "momentum" in settings else optax.adamw)(**settings)


def make_gradient(module: onnxla.Module, loss: str) -> Any:
    """The compiled (loss, next statistics) and gradient, which all optimizers share."""

    def value(trained: Any, frozen: Any, inputs: Any, targets: Any) -> Any:
        outputs, updates = module.apply_train(
            {**trained, **frozen},
            inputs,
            key=jax.random.key(0),
            outputs=module.output_names[-1:],
        )
        return LOSSES[loss](outputs, targets), updates

    return jax.jit(jax.value_and_grad(value, has_aux=True))


def train(
    module: onnxla.Module, gradient: Any, curve: dict[str, Any], name: str
) -> tuple[np.ndarray, onnxla.Module]:
    """The losses of training what `partition` chooses, and the module as it is then."""
    import optax

    rule = optimizer(curve[name]["settings"])
    trained, frozen = module.partition()

    @jax.jit
    def update(change: Any, state: Any, trained: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # Optax multiplies by Python's numbers
            change, state = rule.update(change, state, trained)
        return optax.apply_updates(trained, change), state

    data = [as_inputs(module, batch) for batch in curves.batches(curve)]
    losses = []
    with jax.enable_x64(True):
        state = rule.init(trained)
        for step in range(curves.STEPS):
            (loss, updates), change = gradient(trained, frozen, *data[step % len(data)])
            trained, state = update(change, state, trained)
            frozen = {**frozen, **updates}
            losses.append(float(loss))
    after = {k: v for k, v in {**trained, **frozen}.items() if k in module.params}
    return np.array(losses), module.replace(after)


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
    return np.asarray(list(module.inference().run(inputs).values())[-1])


def served(module: onnxla.Module, curve: dict[str, Any]) -> np.ndarray:
    """The same, by ONNX Runtime from the saved file."""
    import onnxruntime

    arrays = curves.batches(curve)[0][0].values()
    inputs = module.check_inputs(dict(zip(module.input_names, arrays, strict=True)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.onnx"
        module.inference().save(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        *_, outputs = session.run(None, {k: np.asarray(v) for k, v in inputs.items()})
    return np.asarray(outputs)


def compare(cell: str, edit: str = "") -> dict[str, float]:
    """The largest differences from the framework, in units of what is allowed.

    Training is compared in double precision, perhaps after an edit: `untie` or `tie`.
    """
    curve = curve_of(cell)
    module = onnxla.load(FILES / f"{cell}.onnx")
    module = getattr(module, edit)() if edit else module
    wide = module.astype("float64")
    gradient = make_gradient(wide, curve["loss"])
    found = {"initial": apart(curves.rounded(evaluated(module, curve)), curve["initial"]) / 1e-5}
    for name in ("sgd", "adamw"):
        own = curve[name]
        losses, after = train(wide, gradient, curve, name)
        found[f"{name} losses"] = apart(losses, own["losses"]) / 1e-6
        trained = module.replace(
            {k: after.params[k].astype(v.dtype) for k, v in module.params.items()}
        )
        outputs = evaluated(trained, curve)
        found[f"{name} outputs"] = apart(curves.rounded(outputs), own["outputs"]) / 1e-4
        found[f"{name} saved"] = apart(served(trained, curve), outputs) / 1e-4
    return found


def apart(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest value where that is above 1."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


@dataclass(frozen=True)
class Loss:
    """What an exporter lost of a network, so that its file trains as another one.

    Attributes:
        remedy: An edit of `EDITS`, the exporter with which the network trains as it should, or
            `none`.
        cause: What was lost.
    """

    remedy: str
    cause: str


def expected_failures() -> dict[str, Loss]:
    """What was lost by cell, from a file of lines `exporter/network: remedy: cause`."""
    lines = EXPECTED_FAILURES.read_text().splitlines()
    parts = (line.split(": ", 2) for line in lines if line and not line.startswith("#"))
    return {cell: Loss(remedy, cause) for cell, remedy, cause in parts}


def main(patterns: list[str]) -> None:
    """A line for each network and exporter: differences in units of what is allowed, and why."""
    lost = expected_failures()
    for cell in sorted(cells(), key=lambda cell: cell.split("/")[::-1]):
        if patterns and not any(pattern in cell for pattern in patterns):
            continue
        found = {"": compare(cell)}
        if cell in lost and (edit := lost[cell].remedy) in EDITS:
            found[f"{edit}: "] = compare(cell, edit)
        exporter, network = cell.split("/")
        for how, differences in found.items():
            told = ", ".join(f"{name} {value:.2g}" for name, value in differences.items())
            why = f" ({lost[cell].cause})" if cell in lost and not how else ""
            print(f"{network:20} {exporter:25} {how}{told}{why}", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    main(sys.argv[1:])
