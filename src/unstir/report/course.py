"""The sections about the training: the loss, over steps and over noise levels, and its circumstances."""

from unstir.report.figures import level_figure, loss_figure, progress_figure
from unstir.report.markup import Html, duration, listed, number
from unstir.report.parts import caption, charts, code, figure, missing, section
from unstir.report.reading import Run, series
from unstir.report.svg import inline_svg

_CIRCUMSTANCES = {
    "learning_rate": "learning rate (per step)",
    "gradient_norm": "gradient norm (before clipping)",
    "samples_per_second": "throughput (samples per second)",
}


def loss(run: Run) -> Html:
    """The loss over the steps, and over the noise level in three parts of the training."""
    title = "How it learned"
    steps, losses = series(run.progress, "loss")
    if not len(losses):
        return section(
            "training",
            title,
            missing(
                "There is no record of a training here:",
                code(f"unstir train {run.place}/recipe.yaml --folder {run.place}"),
            ),
        )
    ends = ((int(steps[place]), float(losses[place])) for place in (0, -1))
    told = f"Weighted loss: {listed(f'{number(value)} at step {number(step)}' for step, value in ends)}"
    drawn = [inline_svg(loss_figure(run.progress), "loss", told)]
    if any(line.get("by_log_snr") for line in run.progress):
        drawn.append(
            inline_svg(
                level_figure(run.progress),
                "loss-by-level",
                "Weighted loss by noise level in the first, middle and last third of the training",
            )
        )
    last = run.progress[-1]
    lede = [f"{number(int(steps[-1]))} steps"]
    if last.get("samples"):
        lede.append(f"{number(int(last['samples']))} samples seen")
    if last.get("seconds"):
        lede.append(duration(float(last["seconds"])))
    look = (
        "The first curve should fall and then level out. In the second each third should lie below the one before; "
        "where the last two still part, there is something left to learn. A diffusion loss does not go to zero: it "
        "levels out at what noise makes unknowable."
    )
    return section(
        "training",
        title,
        ", ".join(lede) + ".",
        figure(charts(drawn, 2), caption("The training loss, over the steps and over the noise level.", look)),
    )


def circumstances(run: Run) -> Html | None:
    """Learning rate, gradient norm and throughput as small multiples."""
    drawn = []
    for key, label in _CIRCUMSTANCES.items():
        _, values = series(run.progress, key)
        if len(values):
            first, last, most = (number(float(value)) for value in (values[0], values[-1], values.max()))
            told = f"{label}: from {first} to {last}, at most {most}"
            drawn.append(inline_svg(progress_figure(run.progress, key, label), key.replace("_", "-"), told))
    if not drawn:
        return None
    look = "Spikes of the gradient norm ask for a smaller learning rate; dents of the throughput, for a machine alone."
    return section(
        "circumstances",
        "The circumstances of the training",
        None,
        figure(charts(drawn, 3), caption("Learning rate, gradient and speed over the steps.", look)),
    )
