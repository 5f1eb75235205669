"""Every claim measured: the checks behind ``unstir verify``, which the project's own tests run as well.

``base.py`` says what a check is; ``statistics.py`` turns draws and errors into figures with a stated chance of a false
alarm; ``subjects.py`` makes the entries that are measured; ``references.py`` and ``spaces.py`` hold what checks compare
with and draw from; ``runner.py`` runs them; ``findings.py``, ``table.py`` and ``page.py`` tell what was found;
``trained.py`` measures a run's own denoiser. ``checks/`` holds the claims. May import everything but ``cli``.

A new check is a new function in ``checks/``, with ``@claim`` saying which kind it measures, its name in
``__all__`` and the claim as the first line of its docstring. Packages outside join through the entry points
``unstir.checks``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unstir.verification.findings import Finding


def verify(
    names: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    quick: bool = False,
    seed: int = 0,
    workers: int | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> "tuple[list[Finding], Path]":
    """Measures the claims of the whole catalogue, of the entries named, or of a trained run's denoiser.

    Writes ``verify.json`` and the page ``verify.html`` into ``out`` (by default ``verification``, in it a folder
    called after the names, or in the run's folder for a run), and returns the findings and the page's path. What
    an interrupted call had measured is kept, and the same call goes on from there.

    Raises InputError for a name that is not in the catalogue, and where ``run`` is no trained run.
    """
    from tqdm import tqdm

    from unstir.core.errors import InputError
    from unstir.run.folder import RunFolder
    from unstir.verification import runner, trained
    from unstir.verification.base import Effort
    from unstir.verification.findings import findings_of
    from unstir.verification.page import write_page

    if workers is not None and workers < 1:
        raise InputError(f"at least 1 worker is needed; seen {workers}")
    if run is not None and names:
        raise InputError(f"either a run or names of the catalogue can be verified; seen both, {run} and {list(names)}")
    effort = Effort(quick, seed)
    default = (Path(run) if run is not None else Path()) / "verification"
    # what was asked for has a folder of its own, so that no certificate of more is written over
    folder = Path(out) if out is not None else default.joinpath(*["-".join(names).replace("/", "-")] if names else [])
    if run is not None:
        record = trained.verify_run(RunFolder.open(run), effort, folder / "verify.json", progress)
    else:
        total = len(runner.tasks(names, quick))
        with tqdm(total=total, desc="verifying", unit="claims", disable=not progress) as bar:
            record = runner.run(names, effort, workers or _cores(), folder / "verify.json", bar.update)
    return findings_of(record), write_page(record, folder / "verify.html")


def _cores() -> int:
    """Those that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
