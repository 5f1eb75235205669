"""What is known exactly: denoisers of laws in closed form.

``base.py`` says what each offers: the belief about the clean data with its covariance, the score and log-density of
every noisy marginal, exact draws, and where the family allows the exact law given a measurement. ``gaussian.py``,
``mixture.py`` and ``empirical.py`` are laws on vectors, ``wrapped.py`` on the torus, ``categorical.py`` of tokens,
``joint.py`` of several at once. The first two compute with Gaussian components (``gaussian_components.py``), one file
for each way to tell a covariance (``axis_``, ``dense_``, ``low_rank_components.py``). May import ``denoisers``,
``processes``, ``physics`` and ``core``.

A new law is a new file: a class derived from ``ExactDenoiser`` with its name in ``__all__`` and a few members of it
in ``examples``; ``unstir verify`` then measures what it claims.
"""
