"""How fast data sets in files are read, and in how much memory, beside the shortest code that reads them whole.

    python -m benchmarks.readers [WORD …] [--repeats 3] [--json FILE]

Ours is a source surveyed and read, block by block, every example checked and in its final type. The baseline reads the
same files into one array with the library that people would take: Pillow, tarfile, pyarrow, pandas, NumPy. Each reads in
a process of its own with one thread: the median of the repeats after one to warm up, and the growth of the resident set
over what it was before the first.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 64
NUM_IMAGES, NUM_ROWS, NUM_COLUMNS = 300, 150_000, 20
NUM_GREY = 70_000


def write_files(folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    packed = []
    for i in range(NUM_IMAGES):
        smooth = rng.integers(0, 256, (16, 24, 3)).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(smooth).resize((480, 320), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        packed.append(stream.getvalue())
        (folder / "images" / f"{i:05d}.jpg").write_bytes(packed[-1])
    with tarfile.open(folder / "t.tar", "w") as tar:
        for i, content in enumerate(packed):
            member = tarfile.TarInfo(f"{i:05d}.jpg")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    parquet.write_table(pa.table({"image": packed}), folder / "images.parquet", row_group_size=256)
    x = rng.normal(size=(NUM_ROWS, NUM_COLUMNS)).astype(np.float32)
    columns = {f"c{k}": x[:, k] for k in range(NUM_COLUMNS)}
    parquet.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=50_000)
    np.savez(folder / "rows.npz", x=x)
    with (folder / "rows.csv").open("w") as file:
        file.write(",".join(columns) + "\n")
        np.savetxt(file, x, fmt="%.6f", delimiter=",")
    grey = rng.integers(0, 16, (NUM_GREY, 28, 28)).astype(np.uint8)
    header = struct.pack(">HBB3I", 0, 8, 3, *grey.shape)
    (folder / "grey.idx.gz").write_bytes(gzip.compress(header + grey.tobytes(), 1))


def by_pillow(file: Any) -> np.ndarray:
    image = Image.open(file).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def pillow(folder: Path) -> Any:
    return np.stack([by_pillow(path) for path in sorted((folder / "images").iterdir())])


def tarfile_and_pillow(folder: Path) -> Any:
    with tarfile.open(folder / "t.tar") as tar:
        return np.stack([by_pillow(tar.extractfile(member)) for member in tar])


def pyarrow_and_pillow(folder: Path) -> Any:
    from pyarrow import parquet

    table = parquet.read_table(folder / "images.parquet", use_threads=False)
    return np.stack([by_pillow(io.BytesIO(content.as_py())) for content in table["image"]])


def pyarrow(folder: Path) -> Any:
    from pyarrow import parquet

    table = parquet.read_table(folder / "rows.parquet", use_threads=False)
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def pandas(folder: Path) -> Any:
    from pandas import read_csv

    return read_csv(folder / "rows.csv").to_numpy(dtype=np.float32)


def numpy(folder: Path) -> Any:
    with np.load(folder / "rows.npz") as archive:
        return archive["x"]


def gzip_and_numpy(folder: Path) -> Any:
    content = gzip.decompress((folder / "grey.idx.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)


CASES: dict[str, tuple[str, dict[str, Any], Callable[[Path], Any]]] = {
    "folder of JPEG": ("image_folder", {"path": "images", "size": SIZE}, pillow),
    "tar of JPEG": ("webdataset", {"path": "t.tar", "size": SIZE}, tarfile_and_pillow),
    "Parquet of JPEG": ("parquet", {"path": "images.parquet", "size": SIZE}, pyarrow_and_pillow),
    "Parquet, 20 columns": ("parquet", {"path": "rows.parquet"}, pyarrow),
    "CSV, 20 columns": ("csv", {"path": "rows.csv"}, pandas),
    "npz, 20 columns": ("npz", {"path": "rows.npz"}, numpy),
    "IDX, gzipped": ("idx", {"images": "grey.idx.gz"}, gzip_and_numpy),
}


def ours(name: str, folder: Path) -> int:
    """Surveys and reads every example, checks it and gives it its type, as the stage `data` does; how many they are."""
    from genpipe.data.raw import check_examples
    from genpipe.registry import registry

    dataset, options, _ = CASES[name]
    record = registry().get("dataset", dataset)
    places = {key: folder / value if key in ("path", "images") else value for key, value in options.items()}
    source = record.builder(record.config_class(**places), 0)
    spec = source.spec([source.survey(part) for part in source.parts])
    num = 0
    for part in source.parts:
        for x, y in source.read(part, spec):
            check_examples(spec, x, y, part.address)
            num += len(x.astype(spec.dtype, copy=False))
    return num


def measure(name: str, side: str, folder: Path, repeats: int) -> dict[str, float]:
    """Seconds and MiB of one side, in this process."""
    if side == "ours":
        import genpipe.plugins.files.parquet_images
        import genpipe.registry  # noqa: F401

    import pandas
    from pyarrow import parquet  # noqa: F401

    assert pandas
    before = highest_resident()
    seconds, num = [], 0
    for _ in range(repeats + 1):
        start = time.perf_counter()
        num = ours(name, folder) if side == "ours" else len(CASES[name][2](folder))
        seconds.append(time.perf_counter() - start)
    return {"num": num, "seconds": statistics.median(seconds[1:]), "MiB": highest_resident() - before}


def highest_resident() -> float:
    """MiB that this process held at most; getrusage would count what its parent held before it began."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only cases with one of these words in their name")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "SIDE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, side, folder = arguments.one
        print(json.dumps(measure(name, side, Path(folder), arguments.repeats)))
        return
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{machine}; median of {arguments.repeats}, load {os.getloadavg()[0]:.2f}")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        for name, (_, _, baseline) in CASES.items():
            if arguments.words and not any(word in name for word in arguments.words):
                continue
            found = {}
            for side in ("ours", "baseline"):
                command = [sys.executable, "-m", "benchmarks.readers", "--repeats", str(arguments.repeats)]
                done = subprocess.run(
                    [*command, "--one", name, side, folder], check=True, capture_output=True, text=True, env=environment
                )
                found[side] = json.loads(done.stdout)
            results[name] = {"baseline is": baseline.__name__.replace("_", " "), **found}
            mine, other = found["ours"], found["baseline"]
            print(
                f"{name:<20} {mine['num'] / mine['seconds']:>11,.0f}/s {mine['MiB']:>5.0f} MiB   "
                f"{results[name]['baseline is']:<19} {other['num'] / other['seconds']:>11,.0f}/s {other['MiB']:>5.0f} MiB   "
                f"× {other['seconds'] / mine['seconds']:.2f}",
                flush=True,
            )
    if arguments.json:
        facts = {
            "machine": machine,
            "load": os.getloadavg()[0],
            "command": " ".join(["python -m benchmarks.readers", *sys.argv[1:]]),
        }
        Path(arguments.json).write_text(json.dumps({**facts, "results": results}, indent=1))


if __name__ == "__main__":
    main()
