"""A text recognizer with attention learns to read dot-matrix print through low-rank adapters.

PP-OCRv4's recognizer (SVTR: convolutions, two transformer blocks, CTC) reads clean print well, and
print made of separate dots, as on receipts and use-by dates, badly. Adapters of rank 8 are trained
on such lines, tested on lines with other words in other fonts, merged, and checked in ONNX Runtime.
The same again on a copy whose matrices are quantized to 4 bits, beside which the adapters stay.

    python benchmarks/finetuning/lora_transformer.py [--steps 80] [--quantized]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import optax
from onnx import helper, numpy_helper
from PIL import Image

import onnxla
from onnxla import demo
from onnxla.commands.downloads import fetch

BATCH, LONGEST, DOTS = 16, 14, 16  # lines in a batch, letters in a line, dots in a letter's height


def dot_matrix(text: str, font: Any, rng: np.random.Generator) -> np.ndarray:
    """A picture of `text` made of round dots: float32 [3, 48, 192] in [-1, 1]."""
    cell = demo.HEIGHT // DOTS
    ink = np.uint8((1 - demo.render(text, font, rng, degraded=False)[0]) * 127)
    small = Image.fromarray(ink).resize((demo.WIDTH // cell, DOTS), Image.Resampling.BOX)
    y, x = np.mgrid[:cell, :cell] - (cell - 1) / 2
    dots = np.kron(np.asarray(small) > 75, y**2 + x**2 <= (0.4 * cell) ** 2)
    grey = np.clip(1 - dots + rng.normal(0, 0.05, dots.shape), 0, 1)
    return np.broadcast_to(np.float32(2 * grey - 1), (3, demo.HEIGHT, demo.WIDTH))


def lines(
    count: int, words: str, fonts: Any, rng: np.random.Generator, dotted: bool = True
) -> tuple[np.ndarray, list[str]]:
    """Pictures [count, 3, 48, 192], and what they say: a word, half of them with a number."""
    texts, pictures = [], np.empty((count, 3, demo.HEIGHT, demo.WIDTH), np.float32)
    for picture in pictures:
        text = str(rng.choice(words.split())) + str(rng.integers(100, 10000)) * int(rng.integers(2))
        font = fonts[rng.integers(len(fonts))]
        picture[:] = (
            dot_matrix(text, font, rng) if dotted else demo.render(text, font, rng, degraded=False)
        )
        texts.append(text)
    return pictures, texts


def accuracy(run: Any, pictures: np.ndarray, texts: list[str], letters: list[str]) -> float:
    """Share of the lines that are read without a mistake; spaces do not count."""
    right = 0
    for start in range(0, len(texts), BATCH):
        best = np.asarray(run(pictures[start : start + BATCH])).argmax(-1)
        for codes, text in zip(best, texts[start : start + BATCH], strict=True):
            changes = np.append(True, codes[1:] != codes[:-1]) & (codes > 0)
            right += "".join(letters[code] for code in codes[changes]).replace(" ", "") == text
    return right / len(texts)


def train(module: onnxla.Module, letters: list[str], steps: int) -> onnxla.Module:
    """The module with trained adapters."""
    train, frozen = module.partition()
    (softmax,) = (
        n for n in module.program.model.graph.nodes if module.output_names[0] in n.outputs
    )
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0, 2e-3, steps // 10, steps))
    state = optimizer.init(train)

    @jax.jit
    def step(train: Any, state: Any, pictures: jax.Array, labels: jax.Array) -> Any:
        def loss(train: Any) -> Any:
            logits = module.apply({**train, **frozen}, pictures, outputs=softmax.inputs)
            return optax.ctc_loss(logits, jnp.zeros(logits.shape[:2]), labels, labels == 0).mean()

        value, gradient = jax.value_and_grad(loss)(train)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(train, updates), state, value

    codes = {letter: code for code, letter in enumerate(letters)}
    fonts, rng = demo.load_fonts(demo.TRAIN_FONTS), np.random.default_rng(0)
    for i in range(steps):
        pictures, texts = lines(BATCH, demo.TRAIN_WORDS, fonts, rng)
        labels = np.zeros((BATCH, LONGEST), np.int32)
        for row, text in zip(labels, texts, strict=True):
            row[: len(text)] = [codes[letter] for letter in text]
        train, state, value = step(train, state, pictures, labels)
        if i % 20 == 0 or i == steps - 1:
            print(f"step {i:4}   loss {value:.3f}")
    return module.replace(train)


def quantized(path: Path, folder: Path) -> Path:
    """A copy of a model whose MatMul weights have 4 bits for a number, in blocks of 32 rows."""
    model = onnx.load(path)
    tensors = {t.name: t for t in model.graph.initializer}
    tensors |= {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in tensors:
            continue
        weight = numpy_helper.to_array(tensors[node.input[1]])
        rows, columns = weight.shape
        padded = np.pad(weight.T, ((0, 0), (0, -rows % 32))).reshape(columns, -1, 32)
        scales = np.maximum(np.abs(padded).max(-1), 1e-8) / 7
        codes = np.uint8(np.clip(np.rint(padded / scales[..., None]) + 8, 0, 15))
        packed = codes[..., ::2] | codes[..., 1::2] << 4
        names = [f"{node.input[1]}.{part}" for part in ("4bit", "scales")]
        for name, array in zip(names, (packed, scales), strict=True):
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        replaced = helper.make_node(
            "MatMulNBits",
            [node.input[0], *names],
            node.output,
            domain="com.microsoft",
            **{"K": rows, "N": columns, "bits": 4, "block_size": 32},
        )
        node.CopyFrom(replaced)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    used = {name for node in model.graph.node for name in node.input}
    kept = [n for n in model.graph.node if n.op_type != "Constant" or n.output[0] in used]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, folder / "quantized.onnx")
    return folder / "quantized.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--quantized", action="store_true", help="adapt a copy of 4 bits")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    path = fetch("rapidocr/rec.onnx")
    base = onnxla.load(quantized(path, folder) if arguments.quantized else path)
    letters = ["", *onnxla.load(path).program.model.metadata["character"].split("\n"), " "]

    fonts, rng = demo.load_fonts(demo.TEST_FONTS), np.random.default_rng(1)
    dotted = lines(192, demo.TEST_WORDS, fonts, rng)
    clean = lines(192, demo.TEST_WORDS, fonts, rng, dotted=False)

    def report(name: str, run: Any) -> None:
        print(
            f"{name:10} {accuracy(run, *dotted, letters):.1%} of dotted lines read right, "
            f"{accuracy(run, *clean, letters):.1%} of clean ones"
        )

    report("shipped", base)
    module = base.lora(rank=arguments.rank)
    numbers = sum(value.size for value in module.partition()[0].values())
    total = sum(value.size for value in module.params.values())
    print(f"trained    {numbers:,} of {total:,} floating-point parameters ({numbers / total:.1%})")
    start, busy = time.perf_counter(), time.process_time()
    tuned = train(module, letters, arguments.steps)
    took, busy = time.perf_counter() - start, time.process_time() - busy
    print(f"took       {took:.0f} s, {busy:.0f} s of processor time")
    report("adapted", tuned)
    tuned.save(folder / "tuned.onnx")
    tuned.save_adapters(folder / "adapters.safetensors")
    session = onnxruntime.InferenceSession(folder / "tuned.onnx")
    report("saved", lambda x: session.run(None, {session.get_inputs()[0].name: x})[0])
    for file in sorted(folder.iterdir()):
        print(f"{file.name}: {file.stat().st_size:,} bytes")
    nodes = [len(m.to_ir().graph.nodes) for m in (base, tuned)]
    print(f"nodes      {nodes[0]} in the file that was loaded, {nodes[1]} in the one saved")


if __name__ == "__main__":
    main()
