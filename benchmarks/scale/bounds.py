"""What the measured unit costs come to at 10, 1,000 and 10,000 workers and 10⁹ examples: arithmetic, not measurement.

The case: RGB images of 64 × 64, a model of 10⁸ parameters in float32, 32 examples a worker and step, 1,000 examples a
second and worker where nothing holds it up. A network as fast as this machine's loopback stands in for a cluster's.
"""

from __future__ import annotations

from collections.abc import Mapping

from genpipe.data.shard import rows_per_shard

EXAMPLES = 10**9
EXAMPLE_BYTES = 3 * 64 * 64
PARAMETERS = 10**8
WORKER_BATCH = 32
EXAMPLES_PER_SECOND = 1000
WORKERS = (10, 1000, 10_000)
SAMPLES, SAMPLE_BATCH = 10**6, 256
FEATURES, BLOCKS = 2048, 20  # of the Fréchet distance
BUCKET_BYTES = 25 << 20
MIB = 2**20


def bounds(costs: Mapping[str, float], ray: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Rows: what, then a text for each of WORKERS."""
    shards = -(-EXAMPLES // rows_per_shard(EXAMPLE_BYTES))
    step = WORKER_BATCH / EXAMPLES_PER_SECOND
    gradient = 4 * PARAMETERS
    bandwidth = 64 * MIB / (costs["all-reduce of 64 MiB between 2 processes: ms"] / 1e3)
    latency = costs["all-reduce of 4 bytes between 2 processes: µs"] / 1e6 / 2  # a ring of two passes two messages
    item = ray["fan-out's item: ms"] / 1e3
    state = BLOCKS * 8 * (FEATURES * FEATURES + FEATURES)

    def reduce(workers: int) -> float:
        messages = 2 * (workers - 1) * -(-gradient // BUCKET_BYTES)
        return 2 * (workers - 1) / workers * gradient / bandwidth + messages * latency

    index, opened = costs["index: bytes per shard"] * shards, costs["index: µs per shard to read"] * shards / 1e6
    same = [
        ("step's time, if nothing holds it up", f"{step * 1e3:.0f} ms"),
        ("data", f"{EXAMPLES * EXAMPLE_BYTES / 1e12:.1f} TB in {shards:,} shards"),
        ("index of the shards", f"{index / 1e6:.0f} MB, {opened:.1f} s to read, in each process"),
        ("list of checksums in the artifact", f"{costs['artifact: manifest bytes per file'] * shards / 1e6:.0f} MB"),
        (
            "checksums compared before the set is reused",
            f"{EXAMPLES * EXAMPLE_BYTES / costs['artifact: SHA-256 GB/s'] / 1e9 / 3600:.1f} h in the driver",
        ),
        ("cutting the splits", f"{EXAMPLES * costs['split: ns per example to find the cuts, of 10^7'] / 1e9:.0f} s in the driver"),
        ("order of a step's examples", f"{4096 * costs['order: ns per index, of 10^9'] / 1e6:.2f} ms in each worker"),
        ("checkpoint", f"{16 * PARAMETERS / 1e6 / costs['checkpoint: MB/s written, synced']:.0f} s, {16 * PARAMETERS / 1e9:.1f} GB, by one worker"),
        ("drawing 10⁶ samples, its items handed out", f"{-(-SAMPLES // SAMPLE_BATCH) * item:.0f} s"),
        ("a state of the Fréchet distance, 2,048 features", f"{state / 1e9:.2f} GB"),
        ("features of 10⁹ training examples", f"{8 * EXAMPLES * FEATURES / 1e12:.0f} TB"),
    ]  # fmt: skip
    varying = [
        ("examples read at random, per second", *(f"{w * EXAMPLES_PER_SECOND:.0e}" for w in WORKERS)),
        ("bytes read per second", *(f"{w * EXAMPLES_PER_SECOND * EXAMPLE_BYTES / 1e9:.2g} GB" for w in WORKERS)),
        ("file sizes asked for when all open the set", *(f"{w * shards:.1e}" for w in WORKERS)),
        ("gradients averaged, in one ring", *(f"{reduce(w) * 1e3:,.0f} ms" for w in WORKERS)),
        (
            "of it the ring's messages",
            *(f"{2 * (w - 1) * -(-gradient // BUCKET_BYTES) * latency * 1e3:,.0f} ms" for w in WORKERS),
        ),
        ("epoch, if nothing holds it up", *(f"{EXAMPLES / w / EXAMPLES_PER_SECOND / 3600:.2g} h" for w in WORKERS)),
        (
            "shortest item that keeps the workers of a fan-out busy",
            *(f"{w * item:.2g} s" for w in WORKERS),
        ),
    ]  # fmt: skip
    return [(name, value, value, value) for name, value in same] + varying


def show(rows: list[tuple[str, ...]]) -> str:
    lines = [("", *(f"{workers:,} workers" for workers in WORKERS)), *rows]
    return "\n".join(
        f"{name:<56}" + (f"{values[0]}" if len(set(values)) == 1 else "".join(f"{value:>18}" for value in values))
        for name, *values in lines
    )
