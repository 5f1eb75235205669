"""Forward laws: how data is stirred into noise.

``gaussian.py`` holds the Gaussian process, ``wrapped.py`` the torus (its density in ``wrapped_normal.py``),
``categorical.py`` tokens (their matrices in ``generators.py``), ``joint.py`` several at once; ``schedules/`` the
schedules, one file each, which clock all of them; ``grids.py`` the spacings of a sampler's time steps. May
import ``unstir.core`` only.

A new process is a new file: a frozen dataclass with a ``schedule``, its ``space``, the methods ``noise``,
``transition``, ``prior`` and ``bridge`` and a few members of it in ``examples``, with its class name in
``__all__``. A new schedule is a new file in ``schedules/``: a frozen dataclass derived from ``Schedule`` that
gives the log-SNR curve, its inverse and its derivative, with its class name in ``__all__``.
"""
