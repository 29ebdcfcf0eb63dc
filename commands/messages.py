"""What the command line says of an error."""

from __future__ import annotations

from onnxla.ir.errors import OnnxlaError, describe
from onnxla.ir.names import shortened

# What is raised where a user wrote something wrong, or the machine has too little of something.
MISTAKES = (OnnxlaError, OSError, TypeError, ValueError, ImportError, MemoryError)
LONGEST = 10_000  # characters
EXTRAS = {
    "train": ("optax", "orbax", "safetensors", "tqdm"),
    "notebook": ("matplotlib", "IPython", "ipywidgets"),
    "compare": ("onnx", "onnxruntime"),
    "logging": ("tensorboardX", "wandb"),
    "testing": ("hypothesis", "pytest"),
}
OF_JAX = "--------------------"  # how its note on frames begins that it has left out


def is_mistake(error: Exception) -> bool:
    """Whether an error is the user's to mend, and no fault of onnxla."""
    return isinstance(error, MISTAKES)


def message(error: Exception) -> str:
    """An error with its notes, one a line; nothing in it makes a terminal do anything."""
    text = describe(error)
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        text += f"; pip install 'onnxla[{extra}]'" if extra else ""
    elif isinstance(error, MemoryError):
        text = f"there is not enough memory: {text}"
    elif not is_mistake(error):
        text = f"{type(error).__name__}: {text}"
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith(OF_JAX)]
    lines = [text, *(f"  {note}" for note in notes)]
    return printable(shortened("\n".join(lines), LONGEST))


def warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning as one line: where in onnxla it comes from says nothing to a user."""
    return f"onnxla: warning: {printable(str(message))}\n"


def printable(text: str) -> str:
    """Lines of text in which what cannot be printed is escaped, as in Python."""
    return "".join(
        each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text
    )
