"""Training throughput: images a second, share of the processor's peak, memory, and like quality.

``python -m benchmarks.throughput`` times unstir and the peers on 1x32x32 and 3x32x32 images, batch 64,
one thread, each in every setting (fp32 and bf16 autocast, channels_last or not, and compiled), then trains
unstir's network and the fastest peer's on the same task (``throughput_quality.py``), and writes
``benchmarks/results/throughput.md``. All settings of all libraries are stepped in turn, round after
round, each in its own process. The least processor time of a step counts: on a shared machine it is
what stays steady.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import unstir
from benchmarks.throughput_quality import compare
from benchmarks.throughput_worker import BATCH, Setting, matmul_peak
from benchmarks.training_cases import CASES

RESULTS = Path(__file__).parent / "results"


class Worker:
    """A process that holds one setting."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.steps, self.memory = setting, [], {}
        command = [sys.executable, "-m", "benchmarks.throughput_worker", json.dumps(asdict(setting))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.state = self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"ended with code {self.process.wait()}"}

    def _ask(self, word: str) -> dict:
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self._answer()

    def step(self) -> None:
        """One timed step."""
        self.steps.append(self._ask("step"))

    def row(self) -> dict:
        """Ends the process and gives the line of the table."""
        end = self._ask("end")
        self.process.wait()
        processor = min(step["processor"] for step in self.steps)
        rate = end["flops"] / processor
        return {
            "images": f"{self.setting.channels}x{self.setting.size}x{self.setting.size}",
            "library": self.setting.library,
            "setting": self.setting.label,
            "parameters (M)": round(self.state["parameters"] / 1e6, 2),
            "GFLOP per image": round(end["flops"] / BATCH / 1e9, 2),
            "images per processor second": round(BATCH / processor, 1),
            "images per wall-clock second": round(BATCH / min(step["wall"] for step in self.steps), 1),
            "GFLOP/s": round(rate / 1e9, 1),
            "share of matmul peak": 0.0,  # filled in when the peak has been measured again at the end
            "peak memory (MB)": round(end["peak"] / 1e6),
            "of which training (MB)": round(end["growth"] / 1e6),
        }


def settings(
    libraries: Iterable[str], channels: int, size: int, compiled: Iterable[str], threads: int
) -> list[Setting]:
    """All settings of the libraries for one shape of images; compilation, which takes minutes, in the fastest two."""
    forms = [(False, False, False), (False, True, False), (True, False, False), (True, True, False)]
    chosen = [Setting(library, channels, size, *form, threads) for form in forms for library in libraries]
    also = [(True, False, True), (True, True, True)]
    return chosen + [Setting(name, channels, size, *form, threads) for form in also for name in compiled]


def measure(chosen: list[Setting], rounds: int) -> tuple[list[dict], list[str]]:
    """Rows of the table, fastest setting of each library first, and the settings that failed."""
    workers, failures = [], []
    for setting in chosen:
        worker = Worker(setting)
        if "error" in worker.state:
            failures.append(f"{setting.library} ({setting.label}): {worker.state['error']}")
            continue
        print(f"ready: {setting.library} ({setting.label})", flush=True)
        workers.append(worker)
    for _ in range(rounds):
        for worker in workers:
            worker.step()
    rows = [worker.row() for worker in workers]
    return sorted(rows, key=lambda row: (row["library"], -row["images per processor second"])), failures


def best(rows: list[dict]) -> dict[str, dict]:
    """Each library's fastest row."""
    return {
        library: max(
            (row for row in rows if row["library"] == library), key=lambda row: row["images per processor second"]
        )
        for library in {row["library"] for row in rows}
    }


def summary(rows: list[dict]) -> str:
    """The comparison with the best peer, in a sentence a shape."""
    sentences = []
    for images in dict.fromkeys(row["images"] for row in rows):
        fastest = best([row for row in rows if row["images"] == images])
        ours = fastest.pop("unstir", None)
        if not ours or not fastest:
            continue
        peer = max(fastest.values(), key=lambda row: row["images per processor second"])
        ratio = ours["images per processor second"] / peer["images per processor second"]
        least = min(row["peak memory (MB)"] for row in rows if row["images"] == images and row["library"] != "unstir")
        sentences.append(
            f"- {images}: unstir ({ours['setting']}) trains {ours['images per processor second']} images a second, "
            f"**{ratio:.2f} times** the best peer, {peer['library']} ({peer['setting']}), at "
            f"{peer['images per processor second']}; memory at the peak {ours['peak memory (MB)']} MB, "
            f"the best peer's {peer['peak memory (MB)']} MB, the least of any peer in any setting {least} MB."
        )
    return "\n".join(sentences)


def table(rows: list[dict]) -> str:
    """A Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _version(library: str) -> str:
    # unstir may run from its source tree
    return unstir.__version__ if library == "unstir" else version(library)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--libraries", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--compile",
        nargs="*",
        default=["unstir", "azula"],
        choices=list(CASES),
        help="libraries to time compiled too (needs a C++ compiler; none: leave the list empty)",
    )
    parser.add_argument("--shapes", type=int, nargs="*", default=[1, 3], help="numbers of channels")
    parser.add_argument("--quality-images", type=int, default=16384, help="images in each training; 0 leaves it out")
    parser.add_argument("--output", type=Path, default=RESULTS / "throughput.md")
    arguments = parser.parse_args()

    libraries = [name for name in arguments.libraries if CASES[name].installed()]
    absent = [name for name in arguments.libraries if name not in libraries]
    peaks = {bfloat16: matmul_peak(bfloat16) for bfloat16 in (False, True)}
    rows, failures = [], [f"{name}: not installed" for name in absent]
    for channels in arguments.shapes:
        compiled = [name for name in arguments.compile if name in libraries]
        chosen = settings(libraries, channels, 32, compiled, arguments.threads)
        measured, failed = measure(chosen, arguments.rounds)
        rows, failures = rows + measured, failures + failed
        print(table(measured), flush=True)
    # the higher of two measurements, since other work on the machine can only slow it
    peaks = {bfloat16: max(peak, matmul_peak(bfloat16)) for bfloat16, peak in peaks.items()}
    for row in rows:
        row["share of matmul peak"] = round(1e9 * row["GFLOP/s"] / peaks[row["setting"].startswith("bf16")], 3)
    versions = ", ".join(f"{name} {_version(name)}" for name in ["torch", *libraries])
    text = [
        "# Training throughput",
        f"{versions}. Batch {BATCH}, {arguments.threads} thread(s); forward pass, the library's own loss, backward "
        f"pass and fused AdamW step; the least processor time of {arguments.rounds} interleaved rounds. "
        "Matrix-product peak of one thread: "
        f"fp32 {peaks[False] / 1e9:.0f}, bf16 {peaks[True] / 1e9:.0f} GFLOP/s. Memory is the whole process's, "
        "compiler included where it ran. Generated by `python -m benchmarks.throughput`.",
        "\n".join(f"- {name}: {CASES[name].description}" for name in libraries),
        summary(rows),
        table(rows),
        "\n".join(f"- left out: {failure}" for failure in failures),
    ]
    peers = {name: row for name, row in best(rows).items() if name != "unstir"}
    if arguments.quality_images and peers and "unstir" in libraries:
        peer = max(peers, key=lambda name: peers[name]["images per processor second"])
        text.append(compare(["unstir", peer], arguments.quality_images, arguments.shapes))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("\n\n".join(part for part in text if part) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
