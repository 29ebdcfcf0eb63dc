"""A runtime that needs numpy alone, and does what the bytes of its model say."""

import os
import signal
import sys
import time

import numpy as np


class NotSupported(Exception):
    """A class of this file: only its name counts."""


class Plain:
    """Does what it is told in place of a model."""

    name = "plain"

    def __init__(self, option=None):
        self.option = option

    def run(self, model, inputs):
        print("printed", model)  # which is no answer
        sys.stdout.flush()
        return getattr(self, model.decode())(inputs)

    def echo(self, inputs):
        return list(inputs.values())

    def tell(self, inputs):
        found = [name for name in ("onnxla", "jax", "ml_dtypes", "onnx") if name in sys.modules]
        return [np.array(text, object) for text in (self.option or "", *found)]

    def refuse(self, inputs):
        raise NotSupported("no such kernel")

    def leave_out(self, inputs):
        raise NotImplementedError

    def fail(self, inputs):
        print("a hint", file=sys.stderr)
        raise ZeroDivisionError("oh")

    def fail_mutely(self, inputs):
        class Mute(Exception):
            def __str__(self):
                raise ValueError("no text")

        raise Mute

    def crash(self, inputs):
        print("noise " * 2000 + "what(): bad shape", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)

    def hang(self, inputs):
        time.sleep(60)

    def grow(self, inputs):
        return [np.ones(1 << 33, np.int8)]

    def odd(self, inputs):
        return [object()]

    def one(self, inputs):
        return np.ones(2)


class Adding:
    """Adds its inputs, in double precision."""

    name = "adding"

    def run(self, model, inputs):
        return [np.float64(sum(inputs.values()))]


class Choosy(Adding):
    """Says which cases it takes."""

    def supports(self, model, inputs):
        return "no pairs" if len(inputs) == 2 else bool(inputs)


class Differentiating(Adding):
    """Has gradients, too: twice the cotangents that there are."""

    def vjp(self, model, inputs, cotangents):
        return [2 * cotangent for cotangent in cotangents if cotangent is not None]


class Dying:
    """Takes the process down whatever it is asked."""

    name = "dying"

    def run(self, model, inputs):
        os.abort()


class Nameless:
    """Is no runtime."""


def missing():
    """Fails at once."""


INSTANCE = Plain("made here")
