"""Where a training's progress is shown beside its own ``progress.jsonl``; one file per service.

May import ``unstir.core`` only; the service's package is imported when a training starts, and a missing one
is a NotInstalledError. A new tracker is a new file: a class with ``start(folder, recipe)``, ``log(line)`` for
each line of ``progress.jsonl``, and ``finish()``, its name in ``__all__``.
"""
