"""Makes the files and curves of skl2onnx.

Needs scikit-learn 1.9.1, skl2onnx 1.20.0 and onnx 1.23.2, and no onnxla:

    PYTHONPATH=tests python tools/exporters/export_sklearn.py
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import sklearn
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier, MLPRegressor

from support import curves

SETTINGS = {
    "sgd": {"learning_rate": 0.05, "momentum": 0.9},
    # Adam: there is no decay. Epsilon stands elsewhere, and is too small to tell.
    "adamw": {"learning_rate": 0.01, "weight_decay": 0.0, "b1": 0.9, "b2": 0.999, "eps": 1e-20},
}
COMMON: dict[str, Any] = {"hidden_layer_sizes": (16, 16), "alpha": 0.0, "random_state": 0}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    "adamw": {"solver": "adam", "learning_rate_init": 0.01, "epsilon": 1e-20},
}
PROBABILITIES = "cross_entropy_probabilities"
# By name: the class, the activation, the targets, the loss. Of several numbers skl2onnx makes one
# column.
NETWORKS: dict[str, tuple[Any, str, dict[str, Any], str]] = {
    "classifier": (MLPClassifier, "relu", {"shape": [16], "below": 4}, PROBABILITIES),
    "binary": (MLPClassifier, "tanh", {"shape": [16], "below": 2}, PROBABILITIES),
    "regressor": (MLPRegressor, "relu", {"shape": [16, 1]}, "half_mse"),
    "logistic_regressor": (MLPRegressor, "logistic", {"shape": [16, 1]}, "half_mse"),
}


def fresh(name: str, dtype: Any, data: list[Any], **options: Any) -> Any:
    """An estimator with its first values, which are float32 numbers in any dtype.

    A step that is too small to do anything makes them.
    """
    cls, activation, *_ = NETWORKS[name]
    first = {**options, "learning_rate_init": 1e-30}
    net = cls(activation=activation, batch_size=16, **COMMON, **first)
    step(net, *data[0], np.float32)
    net = copy.deepcopy(net)
    net.set_params(**options)
    net.coefs_ = [w.astype(dtype) for w in net.coefs_]
    net.intercepts_ = [b.astype(dtype) for b in net.intercepts_]
    if options:
        del net._optimizer
        net.t_ = 0
        net.n_iter_ = 0
    return net


def step(net: Any, inputs: dict[str, np.ndarray], targets: np.ndarray, dtype: Any) -> float:
    """One step on a batch, and its loss."""
    x = inputs["x"].astype(dtype)
    y = targets if targets.dtype.kind == "i" else targets.astype(dtype)
    if isinstance(net, MLPClassifier):
        net.partial_fit(x, y, classes=np.arange(4 if net.activation == "relu" else 2))
    else:
        net.partial_fit(x, y.ravel() if y.shape[1] == 1 else y)
    return float(net.loss_)


def outputs_of(net: Any, x: np.ndarray) -> np.ndarray:
    """Probabilities, or numbers of shape [N, K]."""
    if isinstance(net, MLPClassifier):
        return net.predict_proba(x)
    return net.predict(x).reshape(len(x), -1)


def train(name: str, data: list[Any], kind: str, dtype: Any) -> dict[str, Any]:
    """Losses, and outputs afterwards."""
    net = fresh(name, dtype, data, **OPTIMIZERS[kind])
    losses = [step(net, *data[number % len(data)], dtype) for number in range(curves.STEPS)]
    outputs = curves.rounded(outputs_of(net, data[0][0]["x"].astype(dtype)))
    return {"losses": losses, "outputs": outputs, "statistics": {}}


def main() -> None:
    """Writes the files and curves."""
    warnings.simplefilter("ignore")
    for name, (_, _, targets, loss) in NETWORKS.items():
        curve: dict[str, Any] = {"framework": f"scikit-learn {sklearn.__version__}", "seed": 0}
        curve |= {"batches": 4, "inputs": {"x": {"shape": [16, 8]}}, "targets": targets}
        curve["loss"] = loss
        data = curves.batches(curve)
        net = fresh(name, np.float32, data)
        curve["initial"] = curves.rounded(outputs_of(net, data[0][0]["x"]))
        for kind, settings in SETTINGS.items():
            single = train(name, data, kind, np.float32)["losses"]
            double = train(name, data, kind, np.float64)
            curve[kind] = {"settings": settings, "float32": single, "band": 0.0, **double}
        curves.write("sklearn", name, curve)
        options = {"options": {"zipmap": False}} if NETWORKS[name][0] is MLPClassifier else {}
        model = to_onnx(net, data[0][0]["x"][:1], target_opset=21, **options)
        path = curves.FOLDER / "files" / "sklearn-skl2onnx" / f"{name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())
        print(name, path.stat().st_size, flush=True)


if __name__ == "__main__":
    main()
