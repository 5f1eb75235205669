"""`unstir guide` as a user meets it: a classifier, guided samples, a sweep with its page, and what is refused."""

import json
import subprocess
import sys

import pytest

SMALL = (
    "network={name: mlp, width: 16, depth: 1, embedding: 16}",
    "training.steps=6",
    "training.batch=16",
    "sampling.steps=2",
    "sampling.batch=20",
)


def unstir(*arguments, cwd, check=True):
    command = [sys.executable, "-m", "unstir.cli", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("guide")
    unstir("train", "table", "data.name=iris", *SMALL, cwd=place)
    return place


def test_a_classifier_is_trained_and_guides_in_one_command(place):
    done = unstir(
        "guide", "runs/table", "--train-classifier", "species", "--steps", "20", "--guide", "classifier",
        "--condition", "species=setosa", "--strength", "2", "--count", "6", cwd=place,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert any("calibration error" in line for line in lines)
    assert any(line.startswith("classifier of species: judged on 22 rows") for line in lines)
    folder = place / lines[-1].removeprefix("6 samples in ")
    assert len(next(folder.glob("*.csv")).read_text(encoding="utf-8").splitlines()) == 7
    assert (place / "runs/table/guides/species/classifier.json").is_file()


def test_a_sweep_prints_its_recommendation_and_writes_its_page(place):
    arguments = ("guide", "runs/table", "--guide", "auto", "--strengths", "0,1", "--count", "30")
    done = unstir(*arguments, cwd=place)
    recommended, page = done.stdout.splitlines()[-2:]
    page = place / page.removeprefix("sweep: ")
    told = json.loads((page.parent / "sweep.json").read_text(encoding="utf-8"))
    assert recommended.startswith(f"recommended strength: {told['recommended']:g} (")
    assert page.name == "sweep.html" and page.stat().st_size > 10_000
    assert [point["strength"] for point in told["points"]] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--guide", "clasifier"), "did you mean 'classifier'"),
        (("--guide", "auto", "--interval", "3"), "two ends"),
        (("--guide", "auto", "--sweep", "--strengths", "a,b"), "numbers are written"),
        (("--guide", "fairness", "--sweep"), "--protected COLUMN"),
        (("--train-classifier", "speces"), "did you mean 'species'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_one_line_and_exit_code_2(arguments, said, place):
    done = unstir("guide", "runs/table", *arguments, cwd=place, check=False)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_without_a_guide_it_lists_them_all(place):
    done = unstir("guide", "runs/table", cwd=place)
    assert "classifier-free" in done.stdout and "--protected COLUMN" in done.stdout
