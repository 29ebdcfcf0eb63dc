"""An 8-bit model that hears whether somebody has finished learns another way of speaking.

Smart Turn 3.2 of the package pipecat-ai is Whisper's smallest encoder and a classifier, quantized
to 8 bits, with QuantizeLinear and DequantizeLinear around what is quantized. The synthetic voices
here draw out their last syllable and let its pitch fall when they have finished, and keep it up
when they are broken off. The model hears the one as hesitation and the other as a question, so it
is mostly wrong. It is trained as it is quantized, with latent weights in front of the integers
(`quantization_aware`), and saved as integers again. What is measured is the share of utterances by
other voices that ONNX Runtime gets right with the file, before and after.

    python benchmarks/finetuning/turns.py [--steps 24]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from voices import RATE, Speaker, noise, scaled

import onnxla
from onnxla.commands.downloads import fetch

SEED, TRAINED, HELD_OUT, BATCH = 0, 256, 128, 8
SECONDS, WINDOW, HOP, BANDS = 8, 400, 160, 80  # what Whisper's features are made of
LEARNED, OTHERS = ((85, 150), (200, 250)), ((150, 200),)  # pitches of voices in hertz


def mel_filters() -> np.ndarray:
    """What each of 80 bands takes of each frequency [201, 80], on Slaney's scale."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        above = 15 + np.log(np.maximum(hertz, 1e-9) / 1000) * 27 / np.log(6.4)
        return np.where(hertz < 1000, hertz * 3 / 200, above)

    fine = np.linspace(0, RATE / 2, 100_000)
    edges = np.interp(np.linspace(0, mel(np.float64(RATE / 2)), BANDS + 2), mel(fine), fine)
    frequencies = np.linspace(0, RATE / 2, WINDOW // 2 + 1)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (high - low))


FILTERS = mel_filters()


def features(sound: np.ndarray) -> np.ndarray:
    """Whisper's: the logarithms of 80 bands [80, 800], of the last 8 seconds of a sound."""
    sound = sound[-SECONDS * RATE :]
    sound = np.pad(sound, (SECONDS * RATE - len(sound), 0))
    sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, WINDOW // 2, "reflect"), WINDOW)
    window = np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(frames[::HOP][:-1] * window)) ** 2
    levels = np.log10(np.maximum(power @ FILTERS, 1e-10)).T
    return np.float32((np.maximum(levels, levels.max() - 8) + 4) / 4)


def utterance(rng: np.random.Generator, voice: tuple[float, float], finished: bool) -> np.ndarray:
    """A phrase and some silence: finished with a long, falling syllable, or broken off."""
    speaker = Speaker.drawn(rng, *voice)
    syllables = [
        speaker.syllable(rng, tuple(rng.uniform(0.95, 1.25, 2))) for _ in range(rng.integers(5, 14))
    ]
    if finished:
        syllables.append(speaker.syllable(rng, (rng.uniform(0.95, 1.1), 0.7), stretch=1.7))
    else:
        syllables.append(speaker.syllable(rng, tuple(rng.uniform(1.05, 1.25, 2)), stretch=0.9))
    sound = np.concatenate([*syllables, np.zeros(int(RATE * rng.uniform(0.2, 0.4)))])
    return sound + rng.uniform(0, 0.1) * scaled(noise(rng, len(sound), (60, 240)))


def utterances(
    seed: int, number: int, voices: tuple[tuple[float, float], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Features [number, 80, 800], and 1 where the utterance is finished [number, 1]."""
    rng = np.random.default_rng(seed)
    finished = np.arange(number) // len(voices) % 2
    sounds = [utterance(rng, voices[i % len(voices)], bool(f)) for i, f in enumerate(finished)]
    return np.stack([*map(features, sounds)]), finished[:, None].astype(np.float32)


def served(path: Path, inputs: np.ndarray) -> np.ndarray:
    """Probabilities by ONNX Runtime."""
    session = onnxruntime.InferenceSession(path)
    parts = np.split(inputs, len(inputs) // BATCH)
    return np.concatenate([session.run(None, {"input_features": part})[0] for part in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=24)
    steps = parser.parse_args().steps
    trained = utterances(SEED, TRAINED, LEARNED)
    inputs, finished = utterances(SEED + 1, HELD_OUT, OTHERS)
    path = fetch("smart_turn/turn_int8.onnx")

    def report(word: str, probabilities: np.ndarray) -> None:
        print(f"{word:8} {((probabilities > 0.5) == finished).mean():.3f} right", flush=True)

    print("Smart Turn 3.2 of pipecat-ai 1.14.0; synthetic voices; seed", SEED)
    print(f"{HELD_OUT} utterances by other voices, in ONNX Runtime:")
    report("shipped", served(path, inputs))
    start, busy = time.perf_counter(), time.process_time()
    module = onnxla.load(path).quantization_aware()
    result = onnxla.fit(
        module, trained, "binary_cross_entropy", steps=steps, batch_size=BATCH, learning_rate=2e-4
    )
    took, busy = time.perf_counter() - start, time.process_time() - busy
    losses = result.history.loss
    with tempfile.TemporaryDirectory() as folder:
        tuned = Path(folder, "tuned.onnx")
        result.module.save(tuned)
        report("trained", served(tuned, inputs))
        before, after = (onnx.load(each) for each in (path, tuned))
    types = [
        {t.name: (t.data_type, [*t.dims]) for t in m.graph.initializer} for m in (before, after)
    ]
    print(f"the same initializers, of the same types: {types[0] == types[1]}")
    print(
        f"{TRAINED} utterances, {steps} steps of {BATCH}; loss {np.mean(losses[:5]):.3f} in the "
        f"first five, {np.mean(losses[-5:]):.3f} in the last; {took:.0f} s, {busy:.0f} s of "
        "processor time"
    )


if __name__ == "__main__":
    main()
