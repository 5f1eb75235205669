"""Forward laws: how data is stirred into noise, one process for each kind of data.

``base.py`` says what a process is. On vectors: ``gaussian.py``; with a schedule for each frequency ``spectral.py``
(``frequency_bands.py``), of sets of points ``centred.py``, with extremes ``heavy_tailed.py`` (``student_clock.py``),
towards other data ``bridge.py`` (``bridge_schedule.py``). On curved and bounded spaces: ``wrapped.py`` the torus,
``lattice.py`` a periodic cell, ``reflected.py`` an interval, ``simplex.py`` compositions, and by Brownian motion
(``brownian.py``) ``rotations.py`` and ``sphere.py``; their densities stand beside them, as in ``wrapped_normal.py``,
and ``spreading.py`` has what all of these refuse and gain.
Of tokens: ``categorical.py``, with ``generators.py`` and ``token_matrices.py``. ``joint.py`` puts several together.

``schedules/`` holds the schedules, one file each, which clock all of them; ``grids.py`` the spacings of a sampler's
time steps. May import ``physics`` and ``core``.

A new process is a new file: a frozen dataclass derived from ``Process``, with its name in ``__all__``. A new schedule
is a new file in ``schedules/``: a frozen dataclass derived from ``Schedule`` that gives the log-SNR curve, its inverse
and its derivative, with its class name in ``__all__``.
"""
