"""A detector whose file has NonMaxSuppression learns to find stars among other shapes.

The detector of the package ddddocr (a YOLOX) finds letters and small pictures of any kind. No
package was found whose detector has NonMaxSuppression in its file, so nodes that decode boxes,
suppress overlapping ones and gather what remains are appended here, as exporters do. It is trained
to find stars alone, among circles, squares and triangles. The loss reads the boxes before
suppression, which has no gradient; the file is evaluated whole. What is measured is the average
precision at an overlap of 0.5 (AP50) in pictures not trained on, before and after, and with the
saved file in ONNX Runtime.

    python benchmarks/finetuning/detector.py [--steps 44]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

import onnxla
from onnxla.commands.downloads import fetch

SEED, TRAINED, HELD_OUT, BATCH, SIZE = 0, 192, 32, 4, 416
STRIDES = (8, 16, 32)  # of the three grids of boxes, in pixels
CORNERS = {"star": 10, "triangle": 3, "square": 4, "circle": 40}


def grids() -> tuple[np.ndarray, np.ndarray]:
    """The places of the boxes [3549, 2] in their grids, and their strides [3549, 1]."""
    places = [np.mgrid[: SIZE // s, : SIZE // s][::-1].reshape(2, -1).T for s in STRIDES]
    strides = np.repeat(STRIDES, [len(each) for each in places])[:, None]
    return np.float32(np.concatenate(places)), np.float32(strides)


PLACES, STRIDE = grids()


def with_suppression(model: onnx.ModelProto) -> onnx.ModelProto:
    """The detector with NonMaxSuppression; its outputs are `boxes` [n, 4] and `confidence` [n]."""
    graph = model.graph

    def constant(name: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        graph.node.append(helper.make_node(op_type, inputs, [output], output, **attributes))
        return output

    def part(first: int, last: int) -> str:
        ends = [constant(f"nms.{n}_{first}_{last}", np.int64([n])) for n in (first, last)]
        return node("Slice", ["output", *ends, axis], f"nms.part_{first}")

    axis, stride = constant("nms.axis", np.int64([2])), constant("nms.stride", STRIDE)
    centres = node("Add", [part(0, 2), constant("nms.places", PLACES)], "nms.cells")
    centres = node("Mul", [centres, stride], "nms.centres")
    sizes = node("Mul", [node("Exp", [part(2, 4)], "nms.exp"), stride], "nms.sizes")
    half = node("Mul", [sizes, constant("nms.half", np.float32(0.5))], "nms.halves")
    low, high = (node(kind, [centres, half], f"nms.{kind}") for kind in ("Sub", "Add"))
    corners = node("Concat", [low, high], "corners", axis=2)
    scores = node("Mul", [part(4, 5), part(5, 6)], "nms.product")
    scores = node("Transpose", [scores], "scores", perm=[0, 2, 1])
    limits = [
        constant("nms.most", np.int64([50])),
        constant("nms.overlap", np.float32([0.45])),
        constant("nms.least", np.float32([0.05])),
    ]
    chosen = node("NonMaxSuppression", [corners, scores, *limits], "nms.chosen")
    index = node("Gather", [chosen, constant("nms.last", np.int64(2))], "nms.index", axis=1)
    flat = constant("nms.flat", np.int64([-1]))
    rows = node("Reshape", [corners, constant("nms.rows", np.int64([-1, 4]))], "nms.all")
    node("Gather", [rows, index], "boxes", axis=0)
    node("Gather", [node("Reshape", [scores, flat], "nms.scores"), index], "confidence", axis=0)
    del graph.output[:]
    for name, shape in (("boxes", ["n", 4]), ("confidence", ["n"])):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


def picture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture [3, 416, 416] of shapes, dark on light or light on dark, and the stars' boxes."""
    paper, ink = ((10, 90), (150, 256)) if rng.random() < 0.5 else ((150, 256), (0, 110))
    image = Image.new("RGB", (SIZE, SIZE), tuple(map(int, rng.integers(*paper, 3))))
    draw = ImageDraw.Draw(image)
    for _ in range(6):  # lines that mean nothing
        colour = tuple(map(int, rng.integers(*ink, 3)))
        draw.line([*map(int, rng.integers(0, SIZE, 4))], colour, int(rng.integers(1, 3)))
    stars: list[tuple[float, ...]] = []
    cells = rng.permutation(9)[: rng.integers(5, 10)]
    for index, cell in enumerate(cells):
        radius = rng.uniform(16, 34)
        centre = (np.array(divmod(cell, 3)) + 0.5) * SIZE / 3 + rng.uniform(-1, 1, 2) * (
            62 - radius
        )
        kind = "star" if index < 2 else str(rng.choice([*CORNERS]))
        count = CORNERS[kind]
        angles = rng.uniform(0, 7) + np.arange(count) * 2 * np.pi / count
        radii = np.where((np.arange(count) % 2 == 0) | (kind != "star"), radius, 0.45 * radius)
        points = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        colour, width = tuple(map(int, rng.integers(*ink, 3))), int(rng.integers(2, 5))
        outline = [*map(tuple, points), tuple(points[0]), tuple(points[1])]
        if rng.random() < 0.5:
            draw.polygon(outline[:-2], fill=colour)
        else:
            draw.line(outline, colour, width, joint="curve")
        if kind == "star":
            stars.append((*points.min(0), *points.max(0)))
    pixels = np.float32(image) + rng.normal(0, 12, (SIZE, SIZE, 3))
    return np.float32(np.clip(pixels, 0, 255)).transpose(2, 0, 1), np.float32(stars)


def assigned(stars: np.ndarray) -> np.ndarray:
    """For each of 3,549 boxes whether it is to be a star's, and the corners of that star [5]."""
    targets = np.zeros((len(PLACES), 5), np.float32)
    for star in stars:
        size, centre = (star[2:] - star[:2]).max(), (star[2:] + star[:2]) / 2
        stride = STRIDES[int(np.clip(np.round(np.log2(size / 40)), 0, 2))]
        near = (np.abs((PLACES + 0.5) * STRIDE - centre) < 1.5 * stride).all(1)
        targets[near & (STRIDE[:, 0] == stride)] = [1, *star]
    return targets


def areas(boxes: Any) -> Any:
    """Of boxes [..., 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlap(a: Any, b: Any) -> Any:
    """Intersection over union of boxes [..., 4], numpy's or JAX's."""
    sides = jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2])
    common = jnp.maximum(sides, 0).prod(-1)
    return common / (areas(a) + areas(b) - common + 1e-6)


def loss(outputs: tuple[jax.Array, jax.Array], targets: jax.Array) -> jax.Array:
    """YOLOX's: of overlaps and classes where there is a star, and of objectness everywhere."""
    corners, raw = outputs
    there, boxes = targets[..., 0], targets[..., 1:]
    object_, class_ = (jnp.clip(raw[..., i], 1e-6, 1 - 1e-6) for i in (4, 5))
    entropy = -there * jnp.log(object_) - (1 - there) * jnp.log1p(-object_)
    of_stars = 5 * (1 - overlap(corners, boxes)) - jnp.log(class_)
    return (entropy.sum() + (there * of_stars).sum()) / there.sum()


def average_precision(
    find: Callable[[np.ndarray], Any], held_out: list[tuple[np.ndarray, np.ndarray]]
) -> float:
    """AP50: the area under precision as a function of recall, by falling confidence."""
    found, total = [], 0
    for pixels, stars in held_out:
        boxes, confidence = map(np.asarray, find(pixels[None]))
        free = np.ones(len(stars), bool)
        for index in np.argsort(-confidence):
            each = np.asarray(overlap(boxes[index], stars)) * free
            hit = each.max() >= 0.5
            free[each.argmax()] &= not hit
            found.append((confidence[index], hit))
        total += len(stars)
    hits = np.array([hit for _, hit in sorted(found, key=lambda pair: -pair[0])], float)
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * hits).sum() / total)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=44)
    steps = parser.parse_args().steps
    rng = np.random.default_rng(SEED)
    pictures, stars = zip(*(picture(rng) for _ in range(TRAINED)), strict=True)
    # A sample of the batched module is a batch of one picture.
    trained = np.stack(pictures)[:, None], np.stack([*map(assigned, stars)])[:, None]
    held_out = [picture(rng) for _ in range(HELD_OUT)]
    print("ddddocr 1.6.1, common_det.onnx with NonMaxSuppression; drawn shapes; seed", SEED)
    with tempfile.TemporaryDirectory() as name:
        path, tuned = Path(name, "detector.onnx"), Path(name, "tuned.onnx")
        onnx.save(with_suppression(onnx.load(fetch("ddddocr/common_det.onnx"))), path)
        module = onnxla.load(path)
        print(f"AP50 in {HELD_OUT} pictures: {average_precision(module, held_out):.3f} before")
        start, busy = time.perf_counter(), time.process_time()
        result = onnxla.fit(
            module.batched(),
            trained,
            loss,
            steps=steps,
            batch_size=BATCH,
            learning_rate=3e-4,
            clip_norm=10.0,
            outputs=["corners", "output"],
        )
        took, busy = time.perf_counter() - start, time.process_time() - busy
        losses = result.history.loss
        module = module.replace(result.module.params)
        print(f"  {average_precision(module, held_out):.3f} after", end=", ")
        module.save(tuned)
        session = onnxruntime.InferenceSession(tuned)
        served = average_precision(lambda x: session.run(None, {"images": x}), held_out)
        print(f"{served:.3f} in ONNX Runtime")
    print(
        f"{TRAINED} pictures, {steps} steps of {BATCH}; loss {losses[0]:.2f} to {losses[-1]:.2f}; "
        f"{took:.0f} s, {busy:.0f} s of processor time"
    )


if __name__ == "__main__":
    main()
