"""Runtimes that answer wrongly, crash or hang."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np

from onnxla.testing import NotSupported, Reference

NUMBER = 1


class Doubling:
    """Computes twice what is right."""

    name = "doubling"

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        with np.errstate(over="ignore"):
            return [2 * output for output in Reference().run(model, inputs)]


class Breaking:
    """Ends its process, hangs, or refuses, as the first input says."""

    name = "breaking"

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        what = int(next(iter(inputs.values())).ravel()[0])
        if what == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == 2:
            time.sleep(60)
        if what == 3:
            raise NotSupported("no")
        if what == 4:
            raise ZeroDivisionError("oh")
        return [np.float32(7)]
