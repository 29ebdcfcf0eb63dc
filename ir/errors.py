"""The errors that onnxla raises, so that callers can tell whose fault it was."""

import os

from onnxla.ir.tracebacks import folded


class OnnxlaError(Exception):
    """Base of every error that onnxla raises on purpose.

    For example:

        try:
            onnxla.load(b"no model")
        except onnxla.OnnxlaError as error:
            print(error)
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the reader's own lines, and what is wrong."""
        return folded(self)


class ModelError(OnnxlaError):
    """The model file is wrong: malformed, inconsistent or unsafe. Names the node or tensor.

    For example:

        try:
            onnxla.load(b"no model")
        except onnxla.ModelError as error:
            print(error)
    """


class UnsupportedError(OnnxlaError):
    """The model is valid, but something in it is not supported. Lists everything at once.

    For example:

        model = onnx.load("model.onnx")
        model.graph.node[0].op_type = "Unheard"
        try:
            onnxla.load(model)(x)
        except onnxla.UnsupportedError as error:
            print(error)
    """


class StaticOperandError(OnnxlaError):
    """An operand that decides a shape depends on a traced value.

    For example:

        sized = onnxla.load("sized.onnx")
        try:
            jax.jit(sized.apply)(sized.params, x, np.array([4, -1]))
        except onnxla.StaticOperandError as error:
            print(error)

    Attributes:
        names: The traced values that the operand was computed from, in terms of the scope that
            the error has reached: at last, graph inputs and parameters. An operator that raises it
            need not give any; all its operands are meant.
        node: The node, in that scope, at which the error was raised.
    """

    def __init__(self, message: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names
        self.node: object = None


def describe(error: Exception) -> str:
    """What an error says; that of the system, with its file in front."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename if error.filename2 is None else error.filename2
        if isinstance(name, str | bytes):
            return f"'{os.fsdecode(name)}': {error.strerror}"
    return str(error) or type(error).__name__
