"""A recurrent voice detector learns, through time, to tell voices from a machine that hums.

Silero VAD's model of sequences (package silero-vad) has an LSTM over the frames of a recording. In
a hall with machines, whose hum has overtones as a voice has them, it takes the hum for speech. It
is trained on sequences of 125 frames (4 seconds), so gradients go back through the LSTM's steps;
the module is `batched`, since the file knows one recording at a time. What is measured is the area
under the curve (AUC) of frames with and without a voice, in recordings with other voices and
machines, and of clean voices, which show whether it forgets. Voices and noise are synthetic: see
`voices.py`.

    python benchmarks/finetuning/voice_detector.py [--epochs 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime
from scipy.stats import rankdata
from voices import RATE, Speaker, noise, scaled

import onnxla
from onnxla.commands.downloads import fetch

SEED, TRAINED, HELD_OUT, BATCH = 0, 192, 64, 16
LOUD, CLEAN = 1.0, 0.01  # the noise's loudness, where the voice's is 1
# Pitches of voices and hums in hertz; those held out lie between the others.
LEARNED = ((85, 150), (60, 110)), ((210, 260), (150, 240))
OTHERS = (((150, 210), (110, 150)),)
FRAMES, FRAME, CONTEXT = 125, 512, 64  # in a recording; samples in a frame, and before it
LOGITS = "/output/Conv_output_0"


def recording(
    rng: np.random.Generator, voice: tuple[float, float], hum: tuple[float, float], loudness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Frames [125, 576] of phrases of a voice in noise, and whether there is a voice in each.

    Args:
        rng: Decides all of it.
        voice: Least and greatest pitch of the voice.
        hum: The same of the noise.
        loudness: That of the noise.
    """
    count = FRAMES * FRAME
    sound, said = np.zeros(count), np.zeros(count)
    speaker, place = Speaker.drawn(rng, *voice), int(RATE * rng.uniform(0, 1))
    while place < count:
        for _ in range(rng.integers(2, 7)):
            syllable = speaker.syllable(rng, tuple(rng.uniform(0.85, 1.2, 2)))[: count - place]
            sound[place : place + len(syllable)] = syllable
            said[place : place + len(syllable)] = 1
            place += len(syllable)
        place += int(RATE * rng.uniform(0.3, 1))
    level = rng.uniform(0.3, 1)
    sound = level * (sound + loudness * scaled(noise(rng, count, hum)))
    padded = np.concatenate([np.zeros(CONTEXT), sound]).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]
    return windows, np.float32(said.reshape(FRAMES, FRAME).mean(1) > 0.5)


def recordings(
    seed: int, number: int, loudness: float, pitches: Any
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Recordings and their labels, of voices and noise with `pitches` in turn."""
    rng = np.random.default_rng(seed)
    made = [recording(rng, *pitches[i % len(pitches)], loudness) for i in range(number)]
    frames, labels = map(np.stack, zip(*made, strict=True))
    state = np.zeros((number, 1, 1, 128), np.float32)
    return {"input": frames, "h": state, "c": state}, labels


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The chance that a frame with a voice scores higher than one without."""
    ranks, positive = rankdata(scores.ravel()), labels.ravel() > 0
    count = positive.sum()
    wins = ranks[positive].sum() - count * (count + 1) / 2
    return float(wins / (count * (~positive).sum()))


def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Binary cross entropy of frames."""
    return onnxla.losses.binary_cross_entropy(logits.reshape(labels.shape), labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    epochs = parser.parse_args().epochs
    trained = recordings(SEED, TRAINED, LOUD, LEARNED)
    noisy = recordings(SEED + 1, HELD_OUT, LOUD, OTHERS)
    clean = recordings(SEED + 2, HELD_OUT, CLEAN, OTHERS)
    start, busy = time.perf_counter(), time.process_time()
    module = onnxla.load(fetch("silero_vad/16k_sequence.onnx"))

    def report(word: str, probabilities) -> None:  # type: ignore[no-untyped-def]
        found = [auc(probabilities(x), y) for x, y in (noisy, clean)]
        print(f"{word:8} AUC {found[0]:.3f} beside machines, {found[1]:.3f} of clean voices")

    print("silero-vad 6.2.3; synthetic voices and machines; seed", SEED)
    report("shipped", lambda inputs: np.asarray(module.batched().run(inputs)["speech_probs"]))
    result = onnxla.fit(
        module.batched(),
        trained,
        loss,
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=1e-3,
        outputs=[LOGITS],
        clip_norm=1.0,
    )
    took, busy = time.perf_counter() - start, time.process_time() - busy
    losses = result.history.loss
    report("trained", lambda inputs: np.asarray(result.module.run(inputs)["speech_probs"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tuned.onnx")
        result.module.save(path)
        session = onnxruntime.InferenceSession(path)

        def served(inputs: dict[str, np.ndarray]) -> np.ndarray:
            rows = ({k: v[i] for k, v in inputs.items()} for i in range(HELD_OUT))
            return np.stack([session.run(["speech_probs"], row)[0] for row in rows])

        report("served", served)
    print(
        f"{TRAINED} recordings of {FRAMES} frames, {epochs} epochs, {len(losses)} steps of {BATCH}"
        f"; loss {losses[0]:.3f} to {losses[-1]:.3f}; {took:.0f} s, {busy:.0f} s of processor time"
    )


if __name__ == "__main__":
    main()
