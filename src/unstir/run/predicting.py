"""The verb `predict`: an ensemble for new input of the user's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.base import Asked
from unstir.run.sampling import TrainedRun


def predict_run(
    run: TrainedRun,
    path: Path,
    *,
    members: int = 50,
    seed: int | None = None,
    out: Path | None = None,
    steps: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Draws an ensemble for the file ``path`` with a run's model, and returns the file that it was written to.

    ``out`` is in ``RUN/predictions`` by default, named after the input; ``options`` are the field's own (``leads`` of a
    forecast, ``noise`` of an assimilation). Raises InputError where the field cannot be asked so,
    and for input that is not like the data that the run was trained on.
    """
    if run.domain.predict is None:
        raise InputError(
            f"the field {run.domain.name!r} draws samples and answers no input; `unstir sample`, `unstir solve` and "
            "`unstir guide` are for that"
        )
    if members < 1:
        raise InputError(f"an ensemble has at least 1 member; seen {members}")
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if overlap := sorted({"members", "seed", "out", "steps"} & set(options or {})):
        raise unknown("option of the field", overlap[0], [f"--{overlap[0]}"])
    denoiser = run.denoiser()
    own = run.recipe.seed if seed is None else seed

    def draw(count: int, seed: int | None = None, condition: Mapping[str, Any] | None = None, **how: Any) -> Any:
        seeds = Seeds.range(own if seed is None else seed, count)
        how.setdefault("steps", steps)
        return run.draw(denoiser, seeds, condition, **how)

    target = out or run.folder.path / "predictions" / f"{path.stem}{run.domain.predicted}"
    target.parent.mkdir(parents=True, exist_ok=True)
    run.domain.predict(
        Asked(
            denoiser=denoiser,
            encoding=run.encoding,
            path=path,
            draw=draw,
            members=members,
            seed=own,
            options=dict(options or {}),
            out=target,
            sampling={
                "sampler": run.recipe.sampling.sampler,
                "grid": run.recipe.sampling.grid,
                "steps": steps or run.recipe.sampling.steps,
                "batch": run.recipe.sampling.batch,
            },
        )
    )
    return target
