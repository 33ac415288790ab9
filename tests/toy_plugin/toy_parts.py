import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from genpipe.config import Config, DatasetChoice, FamilyChoice, Resources
from genpipe.errors import DataError, DivergedError
from genpipe.graph import Step


class NumberConfig(Config):
    value: float = Field(1.0, le=1000)
    seconds: float = 0.0
    num_reports: int = 0  # that are written however fast they come, before the time begins
    then: Literal["succeed", "mistake", "bug", "exit", "die", "die_once", "hang"] = "succeed"
    child: bool = False  # leave a process running
    num_bytes: int = 0  # to write
    until: str | None = None  # a file whose coming ends the work, instead of the time
    source: DatasetChoice | None = None
    meet: str | None = None  # a folder in which to wait for another step


class SumConfig(Config):
    weights: tuple[float, float] = (1.0, 1.0)


class FileConfig(Config):
    path: str


class FamilyConfig(Config):
    width: int = Field(8, ge=1)
    depth: int = Field(2, ge=1)


class Nested(Config):
    families: list[FamilyChoice] = []
    default_family: FamilyChoice = "toy_family"  # type: ignore[assignment]


class ToyConfig(Config):
    left: NumberConfig
    right: NumberConfig
    sum: SumConfig
    nested: Nested
    resources: dict[str, Resources] = {}


def graph(config: ToyConfig, seed: int) -> list[Step]:
    def resources(name: str) -> Resources:
        return config.resources.get(name, Resources())

    return [
        Step(id="left", stage="toy_number", config=config.left, seed=seed, resources=resources("left")),
        Step(id="right", stage="toy_number", config=config.right, seed=seed, resources=resources("right")),
        Step(
            id="sum",
            stage="toy_sum",
            config=config.sum,
            inputs={"left": "left", "right": "right"},
            resources=resources("sum"),
        ),
    ]


class TotalConfig(Config):
    pass


class ManyConfig(Config):
    numbers: dict[str, NumberConfig]
    curve: bool = False  # of the total


def many_graph(config: ManyConfig, seed: int) -> list[Step]:
    numbers = [Step(id=f"make.{name}", stage="toy_number", config=each) for name, each in config.numbers.items()]
    inputs = {f"number.{name}": f"make.{name}" for name in config.numbers}
    total = Step(id="total", stage="toy_total", config=TotalConfig(), inputs=inputs)
    curve = Step(id="curve", stage="toy_curve", config=CurveConfig(), inputs={"number": "total"})
    return [*numbers, total, *([curve] if config.curve else [])]


class CurveConfig(Config):
    floor: float = Field(1.0, le=1000)
    steps: int = Field(9, ge=1)
    seconds: float = 0.0  # of each step
    noise: float = 0.0  # of the final loss, by the seed
    wait_for: str | None = None  # a file without which no step but the first is taken
    then: Literal["succeed", "diverge", "die"] = "succeed"


class TrainingConfig(Config):
    number: NumberConfig
    train: CurveConfig
    resources: dict[str, Resources] = {}


def training_graph(config: TrainingConfig, seed: int) -> list[Step]:
    asked = {name: config.resources.get(name, Resources()) for name in ("number", "train")}
    return [
        Step(id="number", stage="toy_number", config=config.number, resources=asked["number"]),
        Step(
            id="train",
            stage="toy_curve",
            config=config.train,
            inputs={"number": "number"},
            seed=seed,
            resources=asked["train"],
        ),
    ]


def curve(context):
    config = context.config
    for at in range(1, config.steps + 1):
        time.sleep(config.seconds)
        while at > 1 and config.wait_for is not None and not Path(config.wait_for).exists():
            time.sleep(0.05)
        context.progress(at, config.steps, keep=True, loss=config.floor + 1 / at)
    if config.then == "diverge":
        raise DivergedError("the loss is not finite")
    if config.then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    (context.out / "floor.txt").write_text(repr(config.floor))
    context.summary["metrics"] = {"loss": config.floor + config.noise * context.seed, "floor": config.floor}


def check(config: ToyConfig, registry: object) -> Iterator[tuple[str, str]]:
    if config.left.value == config.right.value == 13:
        yield "right.value", "given 13; two thirteens are one too many"


def number(context):
    config = context.config
    (context.out / "started").write_text("")
    print("this is the number stage")
    if config.num_bytes:
        (context.out / "filling.bin").write_bytes(bytes(config.num_bytes))
    if config.child:
        subprocess.Popen(["sleep", "600"])
    for at in range(1, config.num_reports + 1):
        context.progress(at, None, keep=True, loss=1 / at)
    deadline = time.monotonic() + config.seconds
    at = config.num_reports
    while time.monotonic() < deadline if config.until is None else not os.path.exists(config.until):
        time.sleep(0.02)
        at += 1
        context.progress(at, None, loss=1 / at)
    if config.meet is not None:
        meet(Path(config.meet), context.step)
    match config.then:
        case "mistake":
            raise DataError(os.environ.get("TOY_ERROR", "the number's data is not there"))
        case "bug":
            raise ZeroDivisionError("one over none")
        case "exit":
            raise SystemExit(3)
        case "hang":
            threading.Event().wait()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die_once" if not (context.scratch / "died").exists():
            context.scratch.mkdir(parents=True, exist_ok=True)
            (context.scratch / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    (context.out / "number.txt").write_text(repr(config.value + context.seed))
    context.summary["metrics"] = {"value": config.value}


def meet(folder: Path, step: str) -> None:
    """Ends once two steps are here at once; steps that take turns never are."""
    (folder / step).write_text("")
    deadline = time.monotonic() + 600
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("nobody came")
        time.sleep(0.02)


def add(context):
    left, right = (float((context.inputs[p] / "number.txt").read_text()) for p in ("left", "right"))
    first, second = context.config.weights
    (context.out / "number.txt").write_text(repr(first * left + second * right))


def total(context):
    numbers = {name: float((path / "number.txt").read_text()) for name, path in context.inputs_at("number.*").items()}
    (context.out / "number.txt").write_text(repr(sum(numbers.values())))
    context.summary["names"] = list(numbers)


def load_file(config: FileConfig, seed: int):
    raise NotImplementedError


def file_fingerprint(config: FileConfig) -> str:
    path = Path(config.path)
    if not path.exists():
        raise DataError(f"there is no file {path}")
    return str(path.stat().st_size)


def no_model(config, spec):
    raise NotImplementedError
