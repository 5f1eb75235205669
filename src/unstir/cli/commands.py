"""The verbs of the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from unstir.cli import steering
from unstir.cli.shared import RunPath, conditions, console

app = typer.Typer(
    help="Diffusion models for scientists and artists, checked against exact answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeName = Annotated[str, typer.Argument(help="A recipe's name (see `unstir list recipes`) or its YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes to the recipe, such as training.steps=500 data.path=pictures/.")
]
Folder = Annotated[Path | None, typer.Option(help="The run folder; runs/NAME by default.")]


@app.command()
def run(recipe: RecipeName, overrides: Overrides = None, folder: Folder = None) -> None:
    """Train, sample, evaluate and report; an interrupted run goes on where it stopped."""
    from unstir.run.recipe import load

    checked = load(recipe, overrides or [])
    trained = _train(checked, folder)
    if trained is None:
        return
    evaluate(trained, again=False)
    report(trained)


@app.command()
def train(recipe: RecipeName, overrides: Overrides = None, folder: Folder = None) -> None:
    """Train a recipe, or resume its training."""
    from unstir.run.recipe import load

    _train(load(recipe, overrides or []), folder)


@app.command()
def sample(
    run: RunPath,
    count: Annotated[int, typer.Option(help="How many samples.")] = 64,
    first: Annotated[int, typer.Option(help="The number of the first one; sample n is the same on any machine.")] = 0,
    seed: Annotated[int | None, typer.Option(help="The seed; the recipe's by default.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write; a folder of its own in RUN/samples by default.")
    ] = None,
    condition: Annotated[
        list[str] | None, typer.Option(help="A condition, such as label=3; as in the data by default.")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="A sampler's name (see `unstir list samplers`), or calibrated: one made for this model."),
    ] = None,
    grid: Annotated[str | None, typer.Option(help="A time grid's name (see `unstir list grids`).")] = None,
    steps: Annotated[
        int | None, typer.Option(help="The sampler's steps; with few, one made for this model is used.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that draw side by side; the samples are the same.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Draw samples from a trained run, in the format of its data; interrupted, the same command goes on."""
    from unstir.run.folder import RunFolder
    from unstir.run.sampling import TrainedRun, sample_run

    trained = TrainedRun(RunFolder.open(run), device)
    with _interruptible():
        files = sample_run(
            trained,
            count,
            first=first,
            seed=seed,
            out=out,
            condition=conditions(condition or []),
            sampler=sampler,
            grid=grid,
            steps=steps,
            workers=workers,
        )
    place = files[0].parent if files else out
    print(f"{count} samples in {place}")


for verb in (steering.predict, steering.solve, steering.edit, steering.guide):
    app.command()(verb)


@app.command()
def evaluate(
    run: RunPath, again: Annotated[bool, typer.Option(help="Measure anew what has been measured.")] = True
) -> None:
    """Judge a trained run's samples beside noise floors and baselines."""
    from unstir.run.evaluation import evaluate_run
    from unstir.run.folder import RunFolder
    from unstir.run.sampling import TrainedRun

    with _interruptible():
        results = evaluate_run(TrainedRun(RunFolder.open(run)), again=again)
    _print_results(results)


@app.command()
def likelihood(
    run: RunPath,
    count: Annotated[int, typer.Option(help="How many samples of the data.")] = 64,
    way: Annotated[
        str | None, typer.Option(help="flow: the log-density along the flow; bound: the ELBO, faster.")
    ] = None,
    probes: Annotated[int, typer.Option(help="Independent estimates of the flow's divergence.")] = 4,
    seed: Annotated[int | None, typer.Option(help="The seed of the draws; the recipe's by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Tell how probable data is under a trained run, in bits per dimension."""
    from unstir.run.folder import RunFolder
    from unstir.run.likelihood import likelihood_run
    from unstir.run.sampling import TrainedRun

    found = likelihood_run(TrainedRun(RunFolder.open(run), device), count, way, probes, seed)
    bits, error = found["bits_per_dimension"], found["standard_error"]
    print(
        f"{bits:.4f} ± {error:.2g} bits per dimension: {found['samples']} samples of the {found['of']}, "
        f"by the {found['way']}, dequantisation {found['dequantisation']}"
    )


@app.command()
def report(run: RunPath) -> None:
    """Write a run's report, one page that needs nothing beside it."""
    from unstir.report import write
    from unstir.run.folder import RunFolder

    print(f"report: {write(RunFolder.open(run).path)}")


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Kinds (samplers), entries (heun) or both (samplers/heun); the whole catalogue by default."
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Measure a trained run's denoiser instead.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Coarser figures, in some minutes.")] = False,
    seed: Annotated[int, typer.Option(help="The seed of the checks' own draws.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as cores by default.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for verify.json and verify.html; verification/ by default.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="A line for each example that a claim was put to.")] = False,
) -> None:
    """Measure what the catalogue, or a trained run, claims; exit code 1 if a claim fails."""
    from unstir.verification import verify as measure_all
    from unstir.verification.findings import verdict
    from unstir.verification.table import print_table

    with _interruptible():
        findings, page = measure_all(names or [], run=run, quick=quick, seed=seed, workers=workers, out=out)
    print_table(findings, console(), everything)
    print(verdict(findings))
    print(f"certificate: {page}")
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(1)


@app.command("list")
def list_entries(
    kind: Annotated[str | None, typer.Argument(help="One kind, such as samplers; all by default.")] = None,
) -> None:
    """List recipes, samplers, schedules, networks and all other parts by name."""
    from rich.table import Table

    from unstir.core.catalogue import KINDS, entries

    terminal = console()
    for chosen in [kind] if kind else KINDS:
        table = Table(title=f"{chosen}: {KINDS.get(chosen, '')}", title_justify="left", box=None, header_style="dim")
        table.add_column("name", style="bold", no_wrap=True)
        table.add_column("what")
        table.add_column("source", style="dim")
        for entry in entries(chosen).values():
            table.add_row(entry.name, entry.summary, entry.source)
        terminal.print(table)
        terminal.print()


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        import unstir

        print(unstir.__version__)
        raise typer.Exit


@contextmanager
def _interruptible() -> Iterator[None]:
    """Work that is kept and taken up again: an interruption is told in a line, with exit code 130."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        typer.echo(f"unstir: {str(interruption) or 'interrupted; the same command goes on where it stopped'}", err=True)
        raise typer.Exit(130) from None


def _train(recipe: Any, folder: Path | None) -> Path | None:
    """The trained folder, in the main process; None in the others of a distributed training."""
    from unstir.run.training import leads, train_run

    with _interruptible():
        trained, result = train_run(recipe, folder)
    if not leads():
        return None
    print(f"trained {result.step} steps in {trained.path}")
    return trained.path


def _print_results(metrics: dict[str, Any]) -> None:
    from rich.table import Table

    results = metrics["results"]
    stand_ins = list(dict.fromkeys(name for result in results for name in result["baselines"]))
    table = Table(box=None)
    table.add_column("metric", no_wrap=True)
    for column in ("value", "real", *stand_ins):
        table.add_column(column.replace("-", " "), justify="right", overflow="fold")
    table.add_column("better")
    for result in results:
        values = [result["value"], result["floor"].get("value"), *(result["baselines"].get(name) for name in stand_ins)]
        figures = ["" if value is None else f"{value:.3g}" for value in values]
        table.add_row(result["metric"], *figures, result["better"])
    console().print(table)
