"""Every claim measured: the checks behind ``unstir verify``, which the project's own tests run as well.

``base.py`` says what a check is and what it finds; ``statistics.py`` turns draws and errors into findings with a
stated chance of a false alarm; ``subjects.py`` makes the entries that are measured; ``runner.py`` runs the checks;
``page.py`` and ``table.py`` show what was found; ``trained.py`` measures a run's own denoiser. ``checks/`` holds one
file per kind of entry. May import everything but ``cli``.

A new check is a new function in ``checks/``, with ``@claim`` saying which kind it measures, its name in
``__all__`` and the claim as the first line of its docstring. Packages outside join through the entry points
``unstir.checks``.
"""
