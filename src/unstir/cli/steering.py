"""The verbs that ask something of a trained run: `predict`, `solve`, `edit`, `guide`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from unstir.cli.shared import RunPath, conditions, console


def predict(
    run: RunPath,
    file: Annotated[Path, typer.Argument(help="New input, like the run's data but for what is to be told.")],
    options: Annotated[list[str] | None, typer.Argument(help="The task's own, such as leads=10 of a forecast.")] = None,
    members: Annotated[int, typer.Option(help="How many members an ensemble has.")] = 50,
    steps: Annotated[int | None, typer.Option(help="The sampler's steps; the recipe's by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed; the recipe's by default.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file in a format of the field's; one in RUN/predictions by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Draw an ensemble for a file of your own: a forecast, an analysis, the conformers of a molecule."""
    from unstir.run.folder import RunFolder
    from unstir.run.predicting import predict_run
    from unstir.run.sampling import TrainedRun

    trained = TrainedRun(RunFolder.open(run), device)
    told = conditions(options or [])
    written = predict_run(trained, file, members=members, seed=seed, out=out, steps=steps, options=told)
    print(f"ensembles of {members}: {written}")


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
        condition=conditions(condition or []),
        out=out,
        calibrate=calibrate,
        calibrate_on=calibrate_on,
    )
    print(f"solution: {write_solved(folder)}")


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
        condition=conditions(condition or []),
        source=conditions(source_condition) if source_condition else None,
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
        conditions(condition or []),
        conditions(negative or []),
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
    console().print(table)
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
    console().print(table)


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
    console().print(table)
    print(f"classifier of {record['target']}: judged on {record['held_out']} rows that it has not seen")
