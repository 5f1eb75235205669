"""The verbs of the command line."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

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
RunPath = Annotated[Path, typer.Argument(help="A run folder.")]


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
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Draw samples from a trained run, in the format of its data."""
    from unstir.run.folder import RunFolder
    from unstir.run.sampling import TrainedRun, sample_run

    trained = TrainedRun(RunFolder.open(run), device)
    files = sample_run(
        trained,
        count,
        first=first,
        seed=seed,
        out=out,
        condition=_conditions(condition or []),
        sampler=sampler,
        grid=grid,
        steps=steps,
    )
    place = files[0].parent if files else out
    print(f"{count} samples in {place}")


@app.command()
def solve(
    run: RunPath,
    operator: Annotated[
        str, typer.Option(help="What was measured: a name of `unstir list operators` with options, blur,deviation=1.5.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="A file with the sample; a row of the run's own data by default.")
    ] = None,
    of: Annotated[int, typer.Option(help="Which row of the data, or of the file.")] = 0,
    degraded: Annotated[
        bool, typer.Option("--degraded/--clean", help="Whether the file holds the reading, or what is to be measured.")
    ] = False,
    noise: Annotated[
        str, typer.Option(help="See `unstir list noises`; of pictures in units from 0 (black) to 1 (white).")
    ] = "gaussian,deviation=0.05",
    method: Annotated[str, typer.Option(help="See `unstir list methods`, with options if wanted.")] = "twisted",
    count: Annotated[int, typer.Option(help="How many draws.")] = 64,
    steps: Annotated[int | None, typer.Option(help="The method's steps.")] = None,
    grid: Annotated[str | None, typer.Option(help="A time grid's name; the recipe's by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed; the recipe's by default.")] = None,
    condition: Annotated[list[str] | None, typer.Option(help="A condition, such as label=3; none by default.")] = None,
    calibrate: Annotated[
        int | None, typer.Option(help="Try on so many problems of known truth whether the spread can be believed.")
    ] = None,
    calibrate_on: Annotated[
        str, typer.Option(help="Truths: model, its own samples (tries the method); data (method and model together).")
    ] = "model",
    out: Annotated[Path | None, typer.Option(help="A folder of its own in RUN/solutions by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Draw what is behind a measurement, with a trained run as the prior."""
    from unstir.report.solved import write_solved
    from unstir.run.folder import RunFolder
    from unstir.run.readings import specification
    from unstir.run.sampling import TrainedRun
    from unstir.run.solving import solve_run

    folder = solve_run(
        TrainedRun(RunFolder.open(run), device),
        specification(operator),
        specification(noise),
        specification(method),
        data=data,
        of=of,
        degraded=degraded,
        count=count,
        steps=steps,
        grid=grid,
        seed=seed,
        condition=_conditions(condition or []),
        out=out,
        calibrate=calibrate,
        calibrate_on=calibrate_on,
    )
    print(f"solution: {write_solved(folder)}")


@app.command()
def edit(
    run: RunPath,
    file: Annotated[str, typer.Argument(help="A picture file, skimage:NAME, or row:N of the run's own data.")],
    strength: Annotated[
        float | None, typer.Option(help="0 leaves it as it is, 1 makes it anew; 0.5 by default, 1 behind a mask.")
    ] = None,
    mask: Annotated[
        str | None, typer.Option(help="A file, white where the picture is made anew; or alpha: where it is not opaque.")
    ] = None,
    outpaint: Annotated[str | None, typer.Option(help="Pixels added left, top, right, bottom: 8,8,0,0.")] = None,
    restore: Annotated[
        str | None,
        typer.Option(help="denoise, inpaint, super-resolve, deblur, colourise, scratches or painting."),
    ] = None,
    condition: Annotated[list[str] | None, typer.Option(help="What the edit is told, such as label=3.")] = None,
    source_condition: Annotated[
        list[str] | None, typer.Option(help="What the picture is, such as label=8: encoded so, then decoded anew.")
    ] = None,
    style: Annotated[list[str] | None, typer.Option(help="A picture whose style is followed; once or more.")] = None,
    style_strength: Annotated[float, typer.Option(help="How strongly.")] = 1.0,
    tile: Annotated[bool, typer.Option("--tile", help="For pictures larger than the run's: in windows.")] = False,
    seamless: Annotated[bool, typer.Option("--seamless", help="In windows that wrap around: it tiles.")] = False,
    count: Annotated[int, typer.Option(help="How many edits, which differ by their noise.")] = 1,
    seed: Annotated[int | None, typer.Option(help="The seed; the recipe's by default.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler, or of the restoring method.")] = None,
    method: Annotated[
        str | None, typer.Option(help="Of restoring, see `unstir list methods`; mmps by default.")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="The picture's noise, as a share of black to white.")] = None,
    factor: Annotated[int, typer.Option(help="How many times larger, for super-resolve.")] = 2,
    blur: Annotated[float, typer.Option(help="The blur's deviation in pixels, for deblur.")] = 1.5,
    out: Annotated[Path | None, typer.Option(help="A folder, or one PNG file; RUN/edits by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Change, repair or continue a picture with a trained run; colour profile, EXIF and kept pixels stay."""
    from unstir.core.errors import InputError
    from unstir.run.editing import EditOptions, edit_run
    from unstir.run.folder import RunFolder
    from unstir.run.sampling import TrainedRun

    try:
        margins = None if outpaint is None else tuple(int(side) for side in outpaint.split(","))
    except ValueError:
        raise InputError(f"--outpaint takes four whole numbers, left,top,right,bottom; seen {outpaint!r}") from None
    options = EditOptions(
        strength=strength,
        mask=mask,
        outpaint=margins,
        restore=restore,
        condition=_conditions(condition or []),
        source=_conditions(source_condition) if source_condition else None,
        style=tuple(style or []),
        style_strength=style_strength,
        tile=tile,
        seamless=seamless,
        count=count,
        seed=seed,
        steps=steps,
        method=method,
        noise=noise,
        factor=factor,
        blur=blur,
    )
    edited = edit_run(TrainedRun(RunFolder.open(run), device), file, options, out)
    for remark in edited.remarks:
        print(remark)
    print(f"{len(edited.files)} picture{'s' if len(edited.files) > 1 else ''}: {edited.files[0]}")


@app.command()
def evaluate(
    run: RunPath, again: Annotated[bool, typer.Option(help="Measure anew what has been measured.")] = True
) -> None:
    """Judge a trained run's samples beside noise floors and baselines."""
    from unstir.run.evaluation import evaluate_run
    from unstir.run.folder import RunFolder
    from unstir.run.sampling import TrainedRun

    results = evaluate_run(TrainedRun(RunFolder.open(run)), again=again)
    _print_results(results)


@app.command()
def guide(
    run: RunPath,
    by: Annotated[
        str | None, typer.Option("--guide", help="A guide's name (see `unstir list guidance`); this lists them.")
    ] = None,
    train_classifier: Annotated[
        str | None, typer.Option(help="Train a noise-aware classifier of this condition or column, which guides need.")
    ] = None,
    strength: Annotated[float, typer.Option(help="How strongly.")] = 1.0,
    interval: Annotated[str | None, typer.Option(help="Noise levels sigma/alpha between which it acts: 0.2,5.")] = None,
    condition: Annotated[list[str] | None, typer.Option(help="What is wanted, such as label=3.")] = None,
    negative: Annotated[list[str] | None, typer.Option(help="What is not wanted, such as label=5.")] = None,
    weak: Annotated[
        Path | None, typer.Option(help="A weaker run, for auto-guidance; the run's own youth by default.")
    ] = None,
    protected: Annotated[str | None, typer.Option(help="The column of groups, for fairness.")] = None,
    outcome: Annotated[str | None, typer.Option(help="The column of decisions; of many levels decision=yes.")] = None,
    given: Annotated[str | None, typer.Option(help="For equalised odds: what was to be foretold, a column.")] = None,
    way: Annotated[str, typer.Option(help="To fairness: reweighing, of each sample; or batch, by gradient.")] = (
        "reweighing"
    ),
    sweep: Annotated[bool, typer.Option("--sweep", help="Measure many strengths and recommend one.")] = False,
    strengths: Annotated[str | None, typer.Option(help="Those of the sweep: 0,0.5,1,2,4,8.")] = None,
    count: Annotated[
        int | None, typer.Option(help="How many samples; 64 by default, of a sweep 500 a strength (fairness 2000).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The seed; the recipe's by default.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of the classifier's training.")] = 2000,
    out: Annotated[Path | None, typer.Option(help="A folder of its own in RUN/samples by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Steer a trained run by any guide, train what guides need, and find out how strong a guidance should be."""
    from unstir.run.folder import RunFolder
    from unstir.run.guiding import Asked, guide_run, train_guide
    from unstir.run.sampling import TrainedRun

    trained = TrainedRun(RunFolder.open(run), device)
    if train_classifier is not None:
        _print_classifier(train_guide(trained, train_classifier, steps=steps, seed=seed))
    if by is None:
        if train_classifier is None:
            _print_guides()
        return
    asked = Asked(
        by,
        _conditions(condition or []),
        _conditions(negative or []),
        None if interval is None else _pair(interval),
        weak,
        protected,
        outcome,
        given,
        way,
    )
    if sweep or strengths is not None:
        _sweep(trained, asked, strengths, count, seed)
        return
    files = guide_run(trained, asked, strength, 64 if count is None else count, seed=seed, out=out)
    print(f"{64 if count is None else count} samples in {files[0].parent if files else out}")


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
    quick: Annotated[bool, typer.Option("--quick", help="Coarser figures, in four minutes.")] = False,
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

    try:
        findings, page = measure_all(names or [], run=run, quick=quick, seed=seed, workers=workers, out=out)
    except KeyboardInterrupt:
        typer.echo("unstir: interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    print_table(findings, _console(), everything)
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

    console = _console()
    for chosen in [kind] if kind else KINDS:
        table = Table(title=f"{chosen}: {KINDS.get(chosen, '')}", title_justify="left", box=None, header_style="dim")
        table.add_column("name", style="bold", no_wrap=True)
        table.add_column("what")
        table.add_column("source", style="dim")
        for entry in entries(chosen).values():
            table.add_row(entry.name, entry.summary, entry.source)
        console.print(table)
        console.print()


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        import unstir

        print(unstir.__version__)
        raise typer.Exit


def _train(recipe: Any, folder: Path | None) -> Path | None:
    """The trained folder, in the main process; None in the others of a distributed training."""
    from unstir.run.training import leads, train_run

    try:
        trained, result = train_run(recipe, folder)
    except KeyboardInterrupt as interruption:
        typer.echo(f"unstir: {interruption or 'interrupted; the same command goes on'}", err=True)
        raise typer.Exit(130) from None
    if not leads():
        return None
    print(f"trained {result.step} steps in {trained.path}")
    return trained.path


def _sweep(run: Any, asked: Any, strengths: str | None, count: int | None, seed: int | None) -> None:
    from rich.table import Table

    from unstir.report.sweep import write_sweep
    from unstir.run.fairness import sweep_fairness
    from unstir.run.sweeping import sweep_run

    options: dict[str, Any] = {"strengths": None if strengths is None else _numbers(strengths), "count": count}
    measure: Any = sweep_fairness if asked.name == "fairness" else sweep_run
    found, folder = measure(run, asked, seed=seed, **{key: each for key, each in options.items() if each is not None})
    table = Table(box=None)
    names = [result["metric"] for result in found["points"][0]["results"]]
    for column in ("strength", *names):
        table.add_column(column.replace("-", " "), justify="right", overflow="fold")
    for point in found["points"]:
        table.add_row(f"{point['strength']:g}", *(f"{result['value']:.3g}" for result in point["results"]))
    _console().print(table)
    print(f"recommended strength: {found['recommended']:g} ({found['why']})")
    print(f"sweep: {write_sweep(folder, run.domain, run.encoding)}")


def _numbers(text: str) -> list[float]:
    from unstir.core.errors import InputError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"numbers are written 0,0.5,1,2; seen {text!r}") from None


def _pair(text: str) -> tuple[float, float]:
    from unstir.core.errors import InputError

    numbers = _numbers(text)
    if len(numbers) != 2:
        raise InputError(f"an interval of noise levels has two ends, low,high, e.g. 0.2,5; seen {text!r}")
    return numbers[0], numbers[1]


def _print_guides() -> None:
    from rich.table import Table

    from unstir.run.guiding import guides_table

    table = Table(box=None, header_style="dim")
    for column in ("guide", "what", "made from"):
        table.add_column(column)
    for name, summary, made in guides_table():
        table.add_row(name, summary, made or "Python")
    _console().print(table)


def _print_classifier(record: dict[str, Any]) -> None:
    from rich.table import Table

    classes = record["kind"] == "classes"
    columns = ("accuracy", "commonest class") if classes else ("variance told", "")
    table = Table(box=None)
    for column in ("noise sigma/alpha", *columns, "calibration error", "nats"):
        table.add_column(column, justify="right")
    for level in record["by_level"]:
        baseline = f"{level['baseline']:.1%}" if classes else ""
        figures = [f"{level['accuracy']:.1%}", baseline, f"{level['calibration_error']:.3f}", f"{level['nats']:.3f}"]
        table.add_row(f"{level['sigma']:.3g}", *figures)
    _console().print(table)
    print(f"classifier of {record['target']}: judged on {record['held_out']} rows that it has not seen")


def _console() -> Any:
    """The terminal at its width; a file or a pipe at a width that tables are at ease with."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=140)


def _conditions(pairs: list[str]) -> dict[str, Any]:
    import yaml

    from unstir.core.errors import InputError

    conditions = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"a condition is written name=value, e.g. label=3; seen {pair!r}")
        conditions[name] = yaml.safe_load(value)
    return conditions


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
    _console().print(table)
