"""One self-contained page about a run: what it made, how good that is, and how to make it again.

``reading.py`` reads the run folder; ``showing.py``, ``measures.py``, ``course.py`` and ``records.py`` hold the
sections of the page and ``page.py`` their order; ``verdict.py`` puts the result into words; ``figures.py`` draws the
charts, each usable alone; ``svg.py``, ``pictures.py`` and ``markup.py`` bring charts, samples and text into HTML.
May import ``domains`` and everything below, but not ``run``. To add a section: a function from ``reading.Run`` to
``markup.Html``, and its name in ``page.SECTIONS``.
"""

from pathlib import Path


def write(folder: str | Path) -> Path:
    """Writes ``report.html`` into a run folder, whole or not at all, and returns its path.

    The page shows what the folder holds and says which command makes what it lacks. Equal folders give equal bytes.

    Raises InputError where the folder is no run, or holds a file that cannot be read.
    """
    from unstir.report.page import write_page

    return write_page(Path(folder))
