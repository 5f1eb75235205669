"""A store of 10 GB read in random batches: memory and speed, beside plain xarray and a hand-written minimum.

``python -m benchmarks.streaming`` makes a synthetic Zarr store (20,480 times of 4 variables on 181 x 180 places,
float32, chunks of 32 times; noise rounded to two digits, so that it compresses), then reads batches of 32 times

- with ``datasets.opened`` and ``Rows``, in the order that a training goes through data on disk (``Addresses``);
- with plain xarray, ``isel(time=rows).load()``, of rows drawn from all the data;
- chunk by chunk in the store's order with zarr alone, which mixes nothing and is the least that reading takes;

and trains a small network on it. Each in its own process, whose largest resident memory counts. Reading is from the
page cache where the machine's memory holds the store; what is measured then is decompression. Writes
``benchmarks/results/streaming.md``.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
TIMES, VARIABLES, PLACES, CHUNK, BATCH = 20_480, ("z", "t", "u", "v"), (181, 180), 32, 32
WAYS = {
    "opened and Rows, training order": "through",
    "plain xarray, isel(time=rows).load()": "plain",
    "zarr alone, chunk by chunk, unmixed": "minimum",
}


def make(path: Path, times: int) -> None:
    """The store; nothing if it is there."""
    import xarray
    import zarr

    if path.with_suffix(".done").exists():
        return
    shutil.rmtree(path, ignore_errors=True)
    moments = np.datetime64("2000-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h")
    coordinates = {
        "time": moments,
        "latitude": np.linspace(-90, 90, PLACES[0]),
        "longitude": np.arange(PLACES[1]) * (360 / PLACES[1]),
    }
    xarray.Dataset(coords=coordinates).to_zarr(path, consolidated=False)
    store = zarr.open_group(path, mode="a")
    noise = np.random.default_rng(0)
    for name in VARIABLES:
        array = store.create_array(
            name,
            shape=(times, *PLACES),
            chunks=(CHUNK, *PLACES),
            dtype="float32",
            dimension_names=("time", "latitude", "longitude"),
        )
        array.attrs["units"] = "1"
        for first in range(0, times, CHUNK):
            size = min(CHUNK, times - first)
            array[first : first + size] = noise.standard_normal((size, *PLACES), dtype=np.float32).round(2)
    path.with_suffix(".done").touch()


def through(path: Path, times: int) -> Iterator[int]:
    """Batches as a training asks for them."""
    from unstir.domains.climate.files.datasets import Rows, opened
    from unstir.training.addresses import Addresses

    rows = Rows(opened({"path": str(path)}))
    addresses = Addresses(0, len(rows), BATCH, locality=rows.locality)
    yield 0  # opened; the clock begins
    for step in range(sys.maxsize):
        yield len(rows.values(addresses.rows(step, range(BATCH))))


def plain(path: Path, times: int) -> Iterator[int]:
    """Rows drawn from all the data, and no more than xarray."""
    import xarray

    dataset = xarray.open_zarr(path, consolidated=False)[list(VARIABLES)]
    yield 0
    order = np.random.default_rng(0)
    while True:
        yield dataset.isel(time=np.sort(order.choice(times, BATCH, replace=False))).load().sizes["time"]


def minimum(path: Path, times: int) -> Iterator[int]:
    """The store's own order."""
    import zarr

    store = zarr.open_group(path, mode="r")
    arrays: list[Any] = [store[name] for name in VARIABLES]
    yield 0
    for first in range(0, times, BATCH):
        yield len(np.stack([array[first : first + BATCH] for array in arrays], 1))


def read(way: str, path: Path, times: int, seconds: float) -> dict[str, float]:
    """Batches a second of one way, over so many seconds or one epoch."""
    batches = globals()[way](path, times)
    next(batches)
    begun, worked, count = time.perf_counter(), time.process_time(), 0
    for _ in batches:
        count += 1
        if time.perf_counter() - begun > seconds or count * BATCH >= times:
            break
    taken, work = time.perf_counter() - begun, time.process_time() - worked
    return {"batches": count, "batches a second": count / taken, "CPU seconds a batch": work / count}


def train(path: Path, times: int, steps: int) -> dict[str, float]:
    """A weather generator trained on the store, of one time at a time, by the field's own data."""
    from dataclasses import dataclass
    from tempfile import TemporaryDirectory

    from unstir.core.catalogue import build
    from unstir.denoisers.learned.network import NetworkDenoiser
    from unstir.domains.climate.cases import ClimateData
    from unstir.domains.climate.encoding import ClimateEncoding
    from unstir.domains.climate.files.datasets import Rows, digest_of, layout_of, opened
    from unstir.domains.climate.scaling import fit_scaling
    from unstir.processes.gaussian import GaussianProcess
    from unstir.training.loop import train as trained

    dataset = opened({"path": str(path)})
    rows = Rows(dataset)

    @dataclass(frozen=True)
    class Each:
        """Every time of the store is a case."""

        times: Any
        digest: str
        locality: Any

        def __len__(self) -> int:
            return len(rows)

        def target(self, numbers: np.ndarray) -> np.ndarray:
            return rows.values(numbers)

        def given(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
            return {}

    sampled = (rows.values(np.arange(first, first + CHUNK)) for first in range(0, times - CHUNK, times // 8))
    encoding = ClimateEncoding("generate", layout_of(dataset), fit_scaling(sampled, "standard"))
    data = ClimateData("synthetic", encoding, Each(rows.times, digest_of(dataset), rows.locality))
    network = {"name": "unet", "widths": [8, 16], "blocks": 1, "attention": []}
    denoiser = NetworkDenoiser(None, GaussianProcess())
    size, outputs = denoiser.network_size(data.shape)
    denoiser.network = build("networks", network, shape=size, conditions={}, outputs=outputs)
    with TemporaryDirectory() as folder:
        begun, worked = time.perf_counter(), time.process_time()
        trained(denoiser, data, {"steps": steps, "batch": BATCH}, folder, progress=False)
        taken, work = time.perf_counter() - begun, time.process_time() - worked
    return {"batches": steps, "batches a second": steps / taken, "CPU seconds a batch": work / steps}


def peak() -> float:
    """The largest resident memory of this process, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Measures, or one of the measurements, which a process of its own does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="where the store is, or is to be made")
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only")
    parser.add_argument("--keep", action="store_true", help="leave the store where it is")
    told = parser.parse_args()
    if told.only:
        found = (
            train(told.store, told.times, told.steps)
            if told.only == "train"
            else read(told.only, told.store, told.times, told.seconds)
        )
        print(json.dumps({**found, "GiB": peak()}))
        return
    make(told.store, told.times)
    lines = [
        "# A large store, streamed",
        "",
        f"{told.times * len(VARIABLES) * PLACES[0] * PLACES[1] * 4 / 1e9:.1f} GB of float32, chunks of {CHUNK} times, "
        f"{sum(file.stat().st_size for file in told.store.rglob('*') if file.is_file()) / 1e9:.1f} GB on disk; batches "
        f"of {BATCH} times; {os.cpu_count()} cores.",
        "",
        "| way | batches | batches a second | CPU seconds a batch | largest memory, GiB |",
        "|---|---|---|---|---|",
    ]
    for title, way in {**WAYS, f"training a small U-Net, {told.steps} steps": "train"}.items():
        command = [sys.executable, "-m", "benchmarks.streaming", "--only", way, "--store", str(told.store)]
        command += ["--times", str(told.times), "--seconds", str(told.seconds), "--steps", str(told.steps)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        speed = f"{found['batches a second']:.2f} | {found['CPU seconds a batch']:.2f}"
        lines.append(f"| {title} | {found['batches']} | {speed} | {found['GiB']:.2f} |")
        print(lines[-1], flush=True)
    (RESULTS / "streaming.md").write_text("\n".join(lines) + "\n")
    if not told.keep:
        shutil.rmtree(told.store)
        told.store.with_suffix(".done").unlink()


if __name__ == "__main__":
    main()
