"""What is known exactly: denoisers of laws in closed form.

``base.py`` says what each offers: the belief about the clean data with its covariance, the score and log-density of
every noisy marginal, exact draws, and where the family allows the exact law given a measurement. ``gaussian.py``,
``mixture.py`` and ``empirical.py`` are laws on vectors, ``spectral.py`` on grids by frequency, ``centred.py`` of sets
of points, ``pairs.py`` of data and source (with ``transport.py``); ``wrapped.py`` on the torus, ``reflected.py`` on an
interval, ``simplex.py`` of compositions, ``rotations.py`` and ``sphere.py`` (both ``kernel_mixture.py``);
``categorical.py`` of tokens, ``joint.py`` of several at once, ``atoms.py`` of points in any space. The first two
compute with Gaussian components (``gaussian_components.py``), one file for each way to tell a covariance (``axis_``,
``dense_``, ``factor_``, ``low_rank_components.py``). May import ``denoisers``, ``processes``, ``physics`` and ``core``.

A new law is a new file: a class derived from ``ExactDenoiser`` with its name in ``__all__`` and a few members of it
in ``examples``; ``unstir verify`` then measures what it claims.
"""
