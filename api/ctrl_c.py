"""Ctrl-C at a good moment: what is at hand is done before the work ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def ctrl_c(then: Callable[[], Any] = lambda: None) -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that what is at hand is done; pressed again, it interrupts.

    An exception could be raised within a callback, where it is lost. In another thread, or where
    Ctrl-C means something else already, the event is never set.

    Args:
        then: Is called when Ctrl-C is pressed for the first time.
    """
    pressed = threading.Event()
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or not ours:
        yield pressed
        return

    def press(number: int, frame: Any) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        then()

    signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
