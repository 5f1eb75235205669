"""The command line as a user meets it: the README's commands in their order, errors without tracebacks."""

import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[2]
# the same job in miniature: a network of a few hundred weights, some steps, some samples
SMALL = (
    "network={name: unet, widths: [8, 16], blocks: 1, attention: [], head_width: 8}",
    "training.steps=8",
    "training.batch=16",
    "sampling.steps=2",
    "sampling.count=40",
    "sampling.batch=20",
    "evaluation.calls=[1]",
    "evaluation.replicates=5",
)
WEATHER = (
    "data.options={count: 400, scales: 1}",
    "network={name: unet, widths: [8], blocks: 1, kernel: 3, periodic: [0]}",
    "training.steps=8",
    "training.batch=16",
    "sampling.steps=2",
    "sampling.count=4",
    "evaluation.options={cases: 4, members: 3, leads: [1, 2], replicates: 5}",
)
MATTER = (
    "data.limit=40",
    "network.width=16",
    "network.depth=1",
    "training.steps=6",
    "training.batch=8",
    "training.threads=1",
    "sampling.steps=3",
    "sampling.count=12",
    "sampling.batch=12",
)
MINIATURE = {"climate": WEATHER, "molecules": MATTER, "crystals": MATTER}


def unstir(*arguments, cwd, check=True):
    command = [sys.executable, "-m", "unstir.cli", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done


def readme_lines():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == "unstir"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def test_every_command_of_the_readme_runs_in_its_order(place):
    lines = readme_lines()
    assert [words[0] for words in lines[:2]] == ["list", "run"]
    for words in lines:
        # the whole catalogue is measured by tests/contracts/test_claims.py
        small = MINIATURE.get(words[-1], SMALL)
        extra = {"run": small, "verify": () if "--run" in words else ("schedules/cosine",)}.get(words[0], ())
        untrained = words[0] == "verify" and "--run" in words  # after eight steps some claim does fail
        done = unstir(*words, *extra, cwd=place, check=not untrained)
        assert done.returncode in (0, 1), done.stderr
        if words[0] == "verify":
            page = place / done.stdout.strip().splitlines()[-1].removeprefix("certificate: ")
            assert page.name == "verify.html" and page.stat().st_size > 10_000
        if words[0] in ("run", "report"):
            last = done.stdout.strip().splitlines()[-1]
            report = place / last.removeprefix("report: ")
            assert last.startswith("report: ") and report.name == "report.html" and report.stat().st_size > 10_000


def test_a_finished_run_is_not_trained_again(place):
    weights = next((place / "runs/digits/checkpoints").glob("*/weights.safetensors"))
    before = weights.stat().st_mtime_ns
    unstir("run", "digits", *SMALL, cwd=place)
    assert weights.stat().st_mtime_ns == before


def test_a_sampler_for_few_steps_is_made_once(place):
    """The recipe takes two steps; in one, a sampler is made for the model, and is there when it is asked for again."""
    first = unstir("sample", "runs/digits", "--steps", "1", "--count", "4", cwd=place)
    (kept,) = (place / "runs/digits/calibrated").iterdir()
    made = kept.stat().st_mtime_ns
    folder = place / first.stdout.strip().rpartition(" ")[2]
    pictures = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "calls-001" in kept.name and "calibrating 1 calls, once" in first.stderr and pictures
    again = unstir("sample", "runs/digits", "--steps", "1", "--count", "4", cwd=place)
    assert kept.stat().st_mtime_ns == made and "calibrating" not in again.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == pictures
    more = unstir("sample", "runs/digits", "--steps", "5", "--count", "4", cwd=place)  # as many as the recipe, or more
    assert "calibrating" not in more.stderr and more.stdout.startswith("4 samples in ")


@pytest.mark.parametrize(("way", "count"), [("bound", 8), ("flow", 2)])
def test_likelihood_prints_bits_with_their_error_and_keeps_them(place, way, count):
    done = unstir("likelihood", "runs/digits", "--count", str(count), "--way", way, cwd=place)
    told = json.loads((place / "runs/digits/likelihood.json").read_text())
    assert (told["way"], told["samples"], told["elements"], told["levels"]) == (way, count, 64, 17)
    bits, error = told["bits_per_dimension"], told["standard_error"]
    assert done.stdout.startswith(f"{bits:.4f} ± {error:.2g} bits per dimension: {count} samples of the training data")
    # after eight steps the belief is still about that of a normal law as wide as the data, whose density is known
    variance = yaml.safe_load((place / "runs/digits/recipe.yaml").read_text())["denoiser"]["sigma_data"] ** 2
    squares = ((load_digits().images / 8 - 1) ** 2).mean()
    normal = math.log2(2 * math.pi * variance) / 2 + squares / (2 * variance) / math.log(2) + math.log2(8)
    assert 0 < error < 1 and abs(bits - normal) < 0.15 + 5 * error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "digitz"], "did you mean 'digits'"),
        (["run", "digits", "training.step=3"], "did you mean 'training.steps'"),
        (["run", "images", "data.path=nowhere"], "no such file or folder"),
        (["run", "digits", "seed=5"], "another recipe"),
        (["sample", "nowhere"], "not a run folder"),
        (["sample", "runs/digits", "--sampler", "dimm"], "did you mean 'ddim'"),
        (["sample", "runs/digits", "--condition", "label=11"], "0 to 9"),
        (["sample", "runs/digits", "--count", "0"], "at least 1"),
        (["sample", "runs/digits", "--steps", "-3"], "at least 1"),
        (["sample", "runs/digits", "--sampler", "calibrated", "--grid", "karras"], "leave the grid out"),
        (["likelihood", "nowhere"], "not a run folder"),
        (["likelihood", "runs/digits", "--way", "elbo"], "Allowed: bound, flow"),
        (["likelihood", "runs/digits", "--count", "1"], "at least 2 samples"),
        (["evaluate", "nowhere"], "not a run folder"),
        (["list", "sampler"], "did you mean 'samplers'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line_and_exit_code_2(arguments, said, place):
    done = unstir(*arguments, cwd=place, check=False)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


def test_an_interrupted_training_says_how_to_go_on_and_does(tmp_path):
    arguments = ["run", "digits", *SMALL, "training.steps=4000"]
    command = [sys.executable, "-m", "unstir.cli", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 200
        while not (tmp_path / "runs/digits/progress.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "goes on from there" in errors and "Traceback" not in errors
    saved = [path.name for path in (tmp_path / "runs/digits/checkpoints").iterdir()]
    assert saved and "step-00004000" not in saved


def test_two_processes_train_one_run(tmp_path):
    """Under torchrun the command trains once, in step, and only the first process writes and speaks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "unstir.cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = ["train", "digits", *SMALL, "training.steps=4"]
    done = subprocess.run(
        [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 4 steps") == 1
    unstir("sample", "runs/digits", "--count", "2", cwd=tmp_path)


def test_verify_prints_a_table_and_writes_a_certificate(tmp_path):
    done = unstir("verify", "schedules/cosine", "--quick", "--workers", "1", cwd=tmp_path)
    assert "schedules/cosine" in done.stdout and "pass" in done.stdout
    page = tmp_path / done.stdout.strip().splitlines()[-1].removeprefix("certificate: ")
    assert page.stat().st_size > 10_000
    assert page.with_suffix(".json").is_file()


def test_verify_measures_other_packages_and_fails_what_is_broken(tmp_path):
    """A sampler and a claim of a package installed beside unstir, in several processes; exit code 1."""
    (tmp_path / "stranger.py").write_text(
        """
from unstir.samplers.runge_kutta import RungeKuttaSampler, Tableau
from unstir.verification.base import Measured, claim


def hasty():
    \"""Heun's method with the wrong time in its second stage.\"""
    return RungeKuttaSampler(Tableau(2, (0.0, 0.8), ((), (1.0,)), (0.5, 0.5)))


@claim("samplers")
def declares_its_calls(sampler, effort):
    \"""It says how often it calls the denoiser.\"""
    yield Measured("calls", sampler.calls_per_step, low=1)
""",
        encoding="utf-8",
    )
    information = tmp_path / "stranger-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[unstir.samplers]\nhasty = stranger:hasty\n[unstir.checks]\ndeclares-its-calls = stranger:declares_its_calls\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "unstir.cli", "verify", "samplers/hasty", "--quick", "--workers", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1, done.stderr
    assert "It says how often it calls the denoiser." in done.stdout
    assert "FAIL" in done.stdout
    record = json.loads((tmp_path / "verification/samplers-hasty/verify.json").read_text())
    status = {finding["check"]: finding["status"] for finding in record["findings"]}
    assert status["declares-its-calls"] == "passed"
    assert status["sampler-order"] == "failed"


def test_verify_refuses_what_it_does_not_know(tmp_path):
    for arguments, message in (
        (["cosin"], "nothing in the catalogue is called 'cosin'; did you mean 'cosine'"),
        (["--run", "nowhere"], "not a run folder"),
    ):
        done = unstir("verify", *arguments, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
