"""Tasks that the tests share between workers; found by them through PYTHONPATH."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

from genpipe.errors import DataError


def squares(shared):
    print("made anew")
    return lambda item: (os.getpid(), item * item * shared)


def sums(shared):
    """Of a part of a large array, with noise of its own index."""
    return lambda part: np.sqrt(shared[part] + part.start)


def acting(folder: str):
    """Items are (what to do, a number): the first that comes to do it does, and leaves a file in the folder."""

    def do(item):
        act, number = item
        (Path(folder) / f"{act}-{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
        first = len(list(Path(folder).glob(f"{act}-{number}-*"))) == 1
        match act:
            case "die always":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die" if first:
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang" if first:
                threading.Event().wait()
            case "stall" if first:
                time.sleep(600)
            case "mistake":
                raise DataError("the shard is not there")
            case "bug":
                raise ZeroDivisionError("one over none")
            case "lambda":
                return threading.Lock()
            case "print":
                print(f"printed {number}")
        return number

    return do


def failing_builder(shared):
    raise DataError("nothing to build from")
