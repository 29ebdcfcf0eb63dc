"""Sound that is like speech, and noise: made here, so that benchmarks need no recordings.

A voice is a train of pulses, as the vocal cords make them, through three resonances, as the mouth
has them, which differ from vowel to vowel; before a vowel there may be a hiss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

RATE = 16000
# Resonances of vowels in hertz, roughly those that Peterson and Barney measured in men, 1952.
VOWELS = (
    *((270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410)),
    *((730, 1090, 2440), (570, 840, 2410), (300, 870, 2240), (490, 1350, 1690)),
)


@dataclass(frozen=True)
class Speaker:
    """A voice: pitch in hertz, by how much resonances are higher, and seconds a syllable."""

    pitch: float
    size: float
    pace: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, low: float, high: float) -> Speaker:
        """A speaker with a pitch between two."""
        pitch = rng.uniform(low, high)
        return cls(pitch, 0.85 + pitch / 700 + rng.normal(0, 0.03), rng.uniform(0.14, 0.24))

    def syllable(
        self, rng: np.random.Generator, pitch: tuple[float, float], stretch: float = 1
    ) -> np.ndarray:
        """A vowel, perhaps after a hiss; its pitch, in units of the voice's, goes up or down."""
        count = int(RATE * self.pace * stretch * rng.uniform(0.7, 1.3))
        time = np.arange(count) / count
        phase = np.cumsum(self.pitch * np.interp(time, (0, 1), pitch) / RATE)
        pulses = np.diff(np.floor(phase), prepend=0) + 0.01 * rng.standard_normal(count)
        for resonance, width in zip(VOWELS[rng.integers(len(VOWELS))], (60, 90, 150), strict=True):
            radius, angle = np.exp(-np.pi * width / RATE), 2 * np.pi * resonance * self.size / RATE
            denominator = [1, -2 * radius * np.cos(angle), radius**2]
            pulses = lfilter([sum(denominator)], denominator, pulses)
        vowel = scaled(pulses) * np.minimum(1, np.minimum(time, 1 - time) * 8)
        if rng.random() < 0.4:
            return vowel
        hiss = rng.standard_normal(int(RATE * rng.uniform(0.03, 0.08)))
        sos = butter(2, rng.uniform(1500, 4500), "highpass", fs=RATE, output="sos")
        return np.concatenate([0.3 * scaled(sosfilt(sos, hiss)), vowel])


def scaled(sound: np.ndarray, level: float = 0.1) -> np.ndarray:
    """A sound with a root mean square of `level`."""
    return sound * (level / max(float(np.sqrt(np.mean(np.square(sound)))), 1e-9))


def noise(rng: np.random.Generator, count: int, pitch: tuple[float, float]) -> np.ndarray:
    """A machine: a wavering hum with overtones, thumps in a rhythm, beeps, and a hiss.

    Args:
        rng: Decides all of it.
        count: Number of samples.
        pitch: Least and greatest frequency of the hum in hertz.
    """
    time = np.arange(count) / RATE
    waver = 1 + rng.uniform(0.01, 0.05) * np.sin(2 * np.pi * rng.uniform(0.3, 4) * time)
    phase = 2 * np.pi * np.cumsum(rng.uniform(*pitch) * waver) / RATE
    hum = sum(np.sin(k * phase + rng.uniform(0, 6)) * rng.uniform(0, 1) / k for k in range(1, 16))
    gate = np.sin(2 * np.pi * rng.uniform(1, 5) * time + rng.uniform(0, 6)) > rng.uniform(-1, 0.6)
    gate = np.convolve(gate, np.ones(320) / 320, "same")
    beep = np.sin(2 * np.pi * rng.uniform(500, 2500) * time)
    beep *= np.sin(2 * np.pi * rng.uniform(0.5, 2) * time + rng.uniform(0, 6)) > 0.7
    sos = butter(1, rng.uniform(500, 3000), "lowpass", fs=RATE, output="sos")
    hiss = sosfilt(sos, rng.standard_normal(count))
    parts = scaled(hum * gate), 0.5 * scaled(beep), rng.uniform(0.1, 0.5) * scaled(hiss)
    return scaled(sum(parts))
