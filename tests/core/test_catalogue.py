"""The catalogue: one new file is one new entry, outsiders join by entry points, wrong names are answered."""

import subprocess
import sys

import pytest

from unstir.core import catalogue
from unstir.core.catalogue import build, entries, entry_name, find, resolve
from unstir.core.errors import InputError
from unstir.processes.schedules.cosine import CosineSchedule

KINDS_WITH_ENTRIES_HERE = [
    "schedules",
    "grids",
    "parameterisations",
    "weightings",
    "noise_levels",
    "networks",
    "samplers",
]


@pytest.fixture(autouse=True)
def fresh_cache():
    """Entries are found once a process; each test looks anew and leaves nothing behind."""
    entries.cache_clear()
    yield
    entries.cache_clear()


@pytest.mark.parametrize(
    ("kind", "identifier", "name"),
    [
        ("schedules", "CosineSchedule", "cosine"),
        ("schedules", "EDMSchedule", "edm"),
        ("schedules", "LinearVPSchedule", "linear-vp"),
        ("schedules", "RectifiedFlowSchedule", "rectified-flow"),
        ("weightings", "min_snr", "min-snr"),
        ("weightings", "P2Weighting", "p2"),
        ("noise_levels", "UniformLogSNRLevels", "uniform-log-snr"),
        ("processes", "GaussianProcess", "gaussian"),
        ("networks", "UNet", "unet"),
        ("samplers", "AncestralSampler", "ancestral"),
        ("samplers", "Sampler", "sampler"),
        ("grids", "log_snr_uniform", "log-snr-uniform"),
    ],
)
def test_names_follow_from_identifiers(kind, identifier, name):
    assert entry_name(kind, identifier) == name


@pytest.mark.parametrize("kind", KINDS_WITH_ENTRIES_HERE)
def test_entries_load_and_are_sorted(kind):
    found = entries(kind)
    assert found
    assert list(found) == sorted(found)
    for name, entry in found.items():
        assert (entry.kind, entry.name) == (kind, name)
        assert callable(entry.load())


def test_homes_inside_a_kind_are_not_taken_for_it():
    """Schedules and grids live in the folder of processes and are not processes."""
    assert not set(entries("processes")) & (set(entries("schedules")) | set(entries("grids")))
    assert "gaussian" in entries("processes")


def test_summary_and_source_are_read_from_the_docstring():
    entry = find("schedules", "linear-vp")
    assert entry.summary == "Variance preserving, the noise rate beta(t) rising linearly (DDPM's default)."
    assert entry.source.startswith("Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020)")
    assert entry.load().__name__ == "LinearVPSchedule"


NEW_SCHEDULE = '''"""A schedule for this test."""

raise RuntimeError("listing must read, not import")

__all__ = ["WobblySchedule", "steady", "ODD"]


class WobblySchedule:
    """Wobbles on its way
    down.

    More words.

    Reference: Nobody, A paper
    (2031), eq. 4.
    """


def steady():
    """Does not."""


ODD = 3


class HiddenSchedule:
    """Not named in __all__."""
'''


@pytest.fixture
def house(tmp_path, monkeypatch):
    """An empty package laid out as this one."""
    root = tmp_path / "house"
    (root / "processes" / "schedules").mkdir(parents=True)
    (root / "processes" / "schedules" / "__init__.py").write_text('"""Schedules."""\n')
    (root / "processes" / "schedules" / "base.py").write_text('"""No entry, since no __all__."""\n\nclass Base: ...\n')
    monkeypatch.setattr(catalogue, "_ROOT", root)
    return root


def test_one_new_file_is_one_new_entry_and_listing_does_not_import_it(house):
    assert not entries("schedules")
    entries.cache_clear()
    (house / "processes" / "schedules" / "wobbly.py").write_text(NEW_SCHEDULE)
    found = entries("schedules")
    assert list(found) == ["odd", "steady", "wobbly"]
    wobbly = found["wobbly"]
    assert wobbly.summary == "Wobbles on its way down."
    assert wobbly.source == "Nobody, A paper (2031), eq. 4."
    assert wobbly.target == "house.processes.schedules.wobbly:WobblySchedule"
    assert (found["steady"].summary, found["steady"].source) == ("Does not.", "")
    assert found["odd"].summary == "A schedule for this test."


def test_an_entry_that_grew_into_a_folder_is_found_by_its_init(house):
    grown = house / "domains" / "weather"
    grown.mkdir(parents=True)
    (grown / "__init__.py").write_text('"""Weather on a grid."""\n\n__all__ = ["WEATHER"]\n\nWEATHER = object()\n')
    (grown / "reading.py").write_text('"""A helper."""\n\nWIND = 1\n')
    assert entries("domains")["weather"].target == "house.domains.weather:WEATHER"
    assert len(entries("domains")) == 1


def test_a_recipe_is_a_file_with_its_summary_in_the_first_line(house):
    (house / "recipes").mkdir()
    (house / "recipes" / "digits.yaml").write_text("# Handwritten digits\ndata: {}\n")
    entry = find("recipes", "digits")
    assert (entry.summary, entry.target) == ("Handwritten digits", str(house / "recipes" / "digits.yaml"))


def test_an_outside_package_joins_through_an_entry_point(tmp_path, monkeypatch):
    """A real one, as an installer would leave it: a module and its metadata on the path."""
    (tmp_path / "outsider.py").write_text(
        "class Spiral:\n    def __init__(self, turns=2):\n        self.turns = turns\n"
    )
    metadata = tmp_path / "outsider-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[unstir.schedules]\nspiral = outsider:Spiral\ncosine = outsider:Spiral\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = find("schedules", "spiral")
    assert "outsider" in entry.summary
    assert build("schedules", {"name": "spiral", "turns": 5}).turns == 5
    assert build("schedules", "cosine") == CosineSchedule(), "a name of ours cannot be taken over"
    assert build("schedules", "outsider/cosine").turns == 2


def test_build_takes_names_options_and_given_arguments():
    assert build("schedules", "cosine") == CosineSchedule()
    assert build("schedules", {"name": "cosine", "shift": 1.5}) == CosineSchedule(shift=1.5)
    times = build("grids", {"name": "uniform"}, schedule=CosineSchedule(), steps=4)
    assert times.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert build("schedules", "cosine", steps=4) == CosineSchedule(), (
        "given arguments that it does not take are left out"
    )


def test_build_does_not_change_the_recipe():
    specification = {"name": "cosine", "shift": 1.0}
    build("schedules", specification)
    assert specification == {"name": "cosine", "shift": 1.0}


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("cosin", r"unknown schedule 'cosin'; did you mean 'cosine'\?"),
        ({"name": "cosine", "shfit": 1.0}, r"schedules: 'cosine' has no option 'shfit'; did you mean 'shift'\?"),
        ({"name": "discrete"}, r"schedules: 'discrete' needs the option 'betas'"),
        ({"shift": 1.0}, r"a mapping with the key 'name' .* seen \{'shift': 1.0\}; Allowed: cosine"),
        ({"name": 3}, r"seen \{'name': 3\}"),
    ],
)
def test_build_answers_wrong_specifications(specification, message):
    with pytest.raises(InputError, match=message):
        build("schedules", specification)


def test_an_argument_that_the_caller_gives_is_no_option():
    with pytest.raises(InputError, match=r"grids: 'uniform' has no option 'steps'; Allowed: sigma_max"):
        build("grids", {"name": "uniform", "steps": 3}, schedule=CosineSchedule(), steps=4)


@pytest.mark.parametrize("value", [None, 3, ["cosine"]])
def test_whatever_a_recipe_may_hold_is_answered(value):
    """The types are checked in tests before the function is entered; here its own answer is wanted."""
    with pytest.raises(InputError, match="a name, or a mapping with the key 'name'"):
        catalogue._options("schedules", value)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("processes", "gausian", "unknown process 'gausian'; did you mean 'gaussian'"),
        ("noise_levels", "log", "unknown noise-level distribution 'log'"),
        ("sampler", "ddim", "unknown kind of catalogue entry 'sampler'; did you mean 'samplers'"),
    ],
)
def test_find_answers_wrong_names(kind, name, message):
    with pytest.raises(InputError, match=message):
        find(kind, name)


def test_resolve_writes_the_defaults_out():
    assert resolve("schedules", "cosine") == {"name": "cosine", "shift": 0.0, "scale": "vp"}
    assert resolve("schedules", {"name": "cosine", "shift": 2.0}) == {"name": "cosine", "shift": 2.0, "scale": "vp"}
    assert resolve("grids", "karras") == {"name": "karras", "sigma_min": 0.002, "sigma_max": None, "rho": 7.0}
    with pytest.raises(InputError, match="key 'name'"):
        resolve("schedules", {"shift": 2.0})


@pytest.mark.parametrize("name", ["cosine", "linear-vp", "edm", "laplace"])
def test_what_is_resolved_builds_the_same(name):
    assert build("schedules", resolve("schedules", name)) == build("schedules", name)


def test_listing_everything_imports_nothing_heavy():
    program = f"""
import sys
from unstir.core.catalogue import entries
assert all(entries(kind) is not None for kind in {KINDS_WITH_ENTRIES_HERE!r})
print(sorted({{"torch", "numpy", "scipy"}} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr
