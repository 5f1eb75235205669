"""The documentation, built once as `make docs` builds it: its pages run, and nothing in them is broken or missing."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import typer.main
import yaml
from bs4 import BeautifulSoup

from unstir.cli.commands import app
from unstir.core.catalogue import KINDS, entries
from unstir.run.recipe import load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if not {"_build", "jupyter_execute"} & set(page.parts))
PACKAGE = ROOT / "src" / "unstir"
NOT_DESCRIBED = {"cli", "recipes"}  # commands and data: the catalogue and `--help` tell of them


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The pages as HTML; every warning of Sphinx is an error, and so is a cell that raises."""
    folder = tmp_path_factory.mktemp("docs") / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-j", "2", "-W", "--keep-going", str(DOCS), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-6000:]
    return {
        path.relative_to(folder).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in folder.rglob("*.html")
    }


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands():
    lines = [(page, line) for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [pytest.param(shlex.split(line, comments=True), id=f"{page.stem}: {line}") for page, line in lines if line]


def test_pages_with_code_show_what_it_printed(built):
    """Were a page not executed, it would build without a word; so each one's own last output is looked for."""
    expected = {
        "tutorials/first.html": "did you mean 'heun'?",
        "tutorials/molecules.html": "atoms 1 and 2 overlap",
        "tutorials/crystals.html": "unknown element 'Qq'",
        "tutorials/weather.html": "of the thirty days lie within the band",
        "equations.html": "relative error",
        "howto/extend.html": "standard deviation of the samples",
        "howto/kinds-of-data.html": "where the kind is 0",
        "howto/guidance.html": "recommended: 0.0",
        "howto/likelihood.html": "of the 95% intervals hold the truth",
        "howto/own-pictures.html": "row 3 of 20",
        "howto/posteriors.html": "miscalibrated, too sure",
        "howto/sampling.html": "rounds for 100 steps",
        "howto/verify.html": "failed | Halfway there is as much signal as noise.",
        "before-learning/ink.html": "on the word",
        "before-learning/walks.html": "intervals contain the true diffusivity",
        "before-learning/heat.html": "stability limit of the explicit scheme",
        "before-learning/fractional.html": "walkers against the law",
        "before-learning/fokker-planck.html": "within 1/4 of its law",
        "before-learning/reverse.html": "energy of Föllmer's drift",
        "before-learning/modes.html": "of its time where it is decided",
    }
    with_code = {
        page.relative_to(DOCS).with_suffix(".html").as_posix() for page in PAGES if "{code-cell}" in page.read_text()
    }
    assert set(expected) == with_code
    for page, text in expected.items():
        printed = [cell.get_text() for cell in built[page].select("div.cell_output")]
        assert any(text in output for output in printed), f"{page} does not show {text!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_names_every_entry_of_the_catalogue(built, kind):
    place = built["reference/catalogue.html"].find(id=f"catalogue-{kind.replace('_', '-')}")
    section = place if place.name == "section" else place.find_parent("section")
    rows = [[cell.get_text(" ", strip=True) for cell in row.select("td")] for row in section.select("tbody tr")]
    assert [row[0] for row in rows] == list(entries(kind))
    assert all(row[1] for row in rows)


def test_the_reference_describes_every_module(built):
    described = {place["id"] for page in built.values() for place in page.select("[id^='module-unstir']")}
    relative = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    wanted = {
        "module-unstir." + ".".join(part for part in path.with_suffix("").parts if part != "__init__")
        for path in relative
        if len(path.parts) > 1 and path.parts[0] not in NOT_DESCRIBED
    }
    assert wanted <= described, sorted(wanted - described)


def test_no_link_within_the_pages_is_broken(built):
    places = {name: {element["id"] for element in page.select("[id]")} for name, page in built.items()}
    broken = []
    for name, page in built.items():
        for link in page.select("a[href]"):
            target = urlparse(link["href"])
            if target.scheme or not (target.path or target.fragment):
                continue
            path = os.path.normpath(Path(name).parent / unquote(target.path)) if target.path else name
            known = places.get(path)
            if known is None or (target.fragment and unquote(target.fragment) not in known):
                broken.append(f"{name}: {link['href']}")
    assert not broken, broken[:20]


def test_reading_needs_no_network(built):
    """No script, style sheet, font or picture from elsewhere; formulas are drawn by the browser itself."""
    fetched = {"script": "src", "link": "href", "img": "src", "iframe": "src"}
    elsewhere = [
        f"{name}: {element}"
        for name, page in built.items()
        for tag, attribute in fetched.items()
        for element in page.select(f"{tag}[{attribute}]")
        if urlparse(element[attribute]).netloc
    ]
    assert not elsewhere, elsewhere[:5]
    assert len(built["equations.html"].select("math")) > 100


@pytest.mark.parametrize("words", commands())
def test_every_command_is_one_that_the_program_takes(words):
    """Parsed as they would be, though not run; recipes are loaded with the changes that are asked for."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert words[1] in targets
        return
    if words[0] == "torchrun":
        from torch.distributed.run import get_args_parser

        started = get_args_parser().parse_args(words[1:])
        assert (started.module, started.training_script) == (True, "unstir.cli")
        words = ["unstir", *started.training_script_args]
    assert words[0] == "unstir"
    command = typer.main.get_command(app).commands[words[1]]
    parsed = command.make_context(words[1], words[2:]).params
    if "recipe" in parsed:
        load("images" if parsed["recipe"].endswith(".yaml") else parsed["recipe"], parsed["overrides"] or [])
    for kind in ("sampler", "grid"):
        if parsed.get(kind):
            assert parsed[kind] in entries(f"{kind}s")
    if words[1] == "list" and parsed["kind"]:
        assert parsed["kind"] in KINDS


def test_recipes_in_the_pages_load():
    found = [yaml.safe_load(block) for page in PAGES for block in blocks(page, "yaml")]
    assert found
    for recipe in found:
        load({"name": "from-the-page", **recipe})


def test_entry_points_in_the_pages_name_a_kind():
    found = [tomllib.loads(block) for page in PAGES for block in blocks(page, "toml")]
    groups = {group for block in found for group in block["project"]["entry-points"]}
    assert groups
    assert groups <= {f"unstir.{kind}" for kind in KINDS}
