"""The repository itself: light start-up, a complete catalogue, a README that tells the truth, a whole wheel."""

import importlib
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import unstir
from unstir.core.catalogue import KINDS, entries

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "unstir"
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

# hosts that serve packages: an index belongs into the user's own pip configuration
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|anaconda\.org|npmjs\.org|debian\.org")
HOME = re.compile(r"(?<![\w.])/(?:home|Users)/\w|(?<![\w.])/[r]oot/")


def repository_files() -> list[Path]:
    """The tracked files and those that would be, were they added."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in sorted(set(listed.split("\0")) - {""}) if (path := ROOT / name).is_file()]


def readme_commands() -> list[list[str]]:
    """The words of each line of the README's shell blocks, comments left out."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    lines = (shlex.split(line, comments=True) for block in blocks for line in block.splitlines())
    return [words for words in lines if words]


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"]], ids=" ".join)
def test_the_command_line_starts_light(arguments):
    """Half a second is only to be had without the numerical libraries; time itself is the machine's affair."""
    program = f"""
import sys
import unstir.cli
sys.argv = ["unstir", *{arguments!r}]
try:
    unstir.cli.main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "numpy", "scipy", "matplotlib", "sklearn", "PIL"}} & set(sys.modules)
print("heavy:", sorted(heavy))
"""
    ended = python(program)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().splitlines()[-1] == "heavy: []"


def test_importing_the_package_costs_nothing():
    ended = python("import sys, unstir; print({'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules))")
    assert ended.stdout.strip() == "set()", ended.stdout + ended.stderr


@pytest.mark.parametrize("name", sorted(set(unstir.__all__) - {"__version__"}))
def test_every_public_name_is_there(name):
    assert getattr(unstir, name).__name__ == name
    assert name in dir(unstir)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_the_catalogue_loads_and_says_what_it_is(kind):
    found = entries(kind)
    assert found, f"the catalogue has no {kind}"
    for name, entry in found.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), f"{kind}: {name!r} is not a plain lower-case name"
        where = f"{kind}: the first docstring line of {name!r}"
        assert entry.summary.strip(), f"{where} is empty"
        assert "\n" not in entry.summary and len(entry.summary) <= 120, f"{where} is longer than a line"
        assert not entry.summary.endswith(("...", "…")), f"{where} is cut off"
        if kind == "recipes":
            assert isinstance(yaml.safe_load(Path(entry.target).read_text(encoding="utf-8")), dict)
        else:
            entry.load()


def undocumented(module):
    """Public classes of the module, and their public methods, that neither have a docstring nor inherit one."""
    for name, kind in vars(module).items():
        if inspect.isclass(kind) and kind.__module__ == module.__name__ and not name.startswith("_"):
            members = [member for member in vars(kind) if not member.startswith("_")]
            documented = {member: inspect.getdoc(getattr(kind, member)) for member in members if is_code(kind, member)}
            yield from (f"{module.__name__}.{name}.{member}" for member, text in documented.items() if not text)


def is_code(kind, member):
    value = inspect.getattr_static(kind, member)
    return isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)


def modules():
    """All modules by name, read from the files: importing them is the test's business."""
    parts = (path.relative_to(PACKAGE.parent).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py")))
    return [".".join(part for part in names if part != "__init__") for names in parts if "__main__" not in names]


@pytest.mark.parametrize("module", modules())
def test_every_public_method_is_documented_by_itself_or_its_base(module):
    assert not list(undocumented(importlib.import_module(module)))


def test_no_file_names_a_registry_or_somebodys_home():
    patterns = [REGISTRY, HOME]
    if len(ROOT.parts) > 2:  # the folder of this checkout, unless it is as short as /src
        patterns.append(re.compile(re.escape(str(ROOT)) + r"\b"))
    seen = []
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
            seen += [f"{path.relative_to(ROOT)}:{number}: {hit[0]}" for p in patterns if (hit := p.search(line))]
    assert not seen, "\n".join(seen)


@pytest.mark.parametrize("text", ["https://pypi{}.org/simple", "see /home{}/ada/x", "/Users{}/ada", "=/root{}/x"])
def test_the_search_above_finds_what_it_is_for(text):
    text = text.format("")  # the gap keeps this file itself out of the search's catch
    assert REGISTRY.search(text) or HOME.search(text)


def test_readme_starts_with_the_two_commands():
    assert readme_commands()[:2] == [["make", "demo"], ["make", "test"]]


def test_readme_names_make_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    named = {words[1] for words in readme_commands() if words[0] == "make"} | set(re.findall(r"`make (\w+)`", README))
    assert named, "the README names no make target"
    assert named <= targets, f"not in the Makefile: {sorted(named - targets)}"


@pytest.mark.parametrize("verb", sorted({words[1] for words in readme_commands() if words[0] == "unstir"}))
def test_readme_names_commands_that_exist(verb):
    program = f"import sys, unstir.cli; sys.argv = ['unstir', {verb!r}, '--help']; unstir.cli.main()"
    ended = python(program)
    assert ended.returncode == 0, ended.stderr
    assert verb in ended.stdout


def test_readme_uses_no_other_program():
    """So that the tests here and the one that runs the README cover all of its commands."""
    assert {words[0] for words in readme_commands()} == {"make", "unstir"}


def test_readme_names_extras_that_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.search(r"Extras: (.*?)\n\n", README, re.DOTALL)
    assert extras
    assert set(re.findall(r"`(\w+)`", extras[1])) == set(project["optional-dependencies"])


@pytest.mark.parametrize("document", sorted(path.name for path in ROOT.glob("*.md")))
def test_local_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / document).read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing, f"{document} links to {missing}"


def test_every_dependency_is_pinned():
    """A package that nobody pinned makes tomorrow's installation another one than today's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = {extra: names for extra, names in project["optional-dependencies"].items() if extra != "tracking"}
    wanted = [*project["dependencies"], *(name for names in optional.values() for name in names)]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in pins), (
        "constraints are exact and without local suffix"
    )
    pinned = {_normal(line) for line in pins}
    assert {_normal(name) for name in wanted} - pinned == {"unstir"}


def _normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == unstir.__version__
    assert citation["license"] == "Apache-2.0"


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    """Recipes, templates and the type marker are found by path at run time: none may stay behind."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(PACKAGE.parent).as_posix() for path in repository_files() if PACKAGE in path.parents}
    assert wanted <= names, f"left out: {sorted(wanted - names)}"
    assert {"unstir/py.typed"} <= names
    assert any(re.fullmatch(r"unstir/recipes/[\w-]+\.yaml", name) for name in names), "no recipe in the wheel"
    assert any(name.endswith("licenses/LICENSE") for name in names)
