"""A share of the training data as validation data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxla.train.batches import ArrayBatches, StreamedBatches, kind_of

HELD_OUT = 1  # so that these random numbers are not those of an epoch's order


def hold_out(
    batches: ArrayBatches | StreamedBatches, share: float
) -> tuple[ArrayBatches, ArrayBatches]:
    """Training data without a random share of its samples, and that share as validation data.

    Nothing is copied: both read the same samples.

    Args:
        batches: The data, whose seed decides which samples are held out.
        share: Share of the samples, between 0 and 1.

    Raises:
        TypeError: The data is an iterable, of which nothing is known before it is drawn.
        ValueError: There are less than two samples.
    """
    if isinstance(batches, StreamedBatches):
        advice = ", or its .dataset instead of it" if hasattr(batches.source, "dataset") else ""
        raise TypeError(
            f"validation={share} holds out samples that can be read by number, and the data,"
            f" {kind_of(batches.source)}, gives batches in an order of its own: pass arrays or a"
            f" dataset with a length{advice}; or validation data of its own"
        )
    count = len(batches.samples)
    if count < 2:
        raise ValueError(f"validation={share} needs at least 2 samples, got {count}")
    held = min(max(round(share * count), 1), count - 1)
    order = np.random.default_rng([batches.seed, HELD_OUT, count]).permutation(count)

    def part(rows: np.ndarray, shuffle: bool) -> ArrayBatches:
        samples = batches.samples.part(np.sort(rows))
        size = min(batches.size, len(samples))
        return replace(batches, samples=samples, size=size, shuffle=shuffle)

    return part(order[held:], batches.shuffle), part(order[:held], False)
