"""Forward laws: how data is stirred into noise.

``gaussian.py`` holds the Gaussian process; ``schedules/`` its schedules, one file each; ``grids.py``
the spacings of a sampler's time steps. May import ``unstir.core`` only.

A new schedule is a new file in ``schedules/``: a frozen dataclass derived from ``Schedule`` that
gives the log-SNR curve, its inverse and its derivative, with its class name in ``__all__``.
"""
