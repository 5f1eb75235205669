"""What is known exactly: denoisers in closed form, and what the theory says about them.

``base.py`` the interface; one file per family of laws. Each gives the belief about the clean data with its
covariance, the score and log-density of every noisy marginal, exact draws, and where the family allows the exact
law given a measurement. May import ``denoisers``, ``processes``, ``physics`` and ``core``.

A new law is a new file: a class derived from ``ExactDenoiser`` with its name in ``__all__`` and a few members of it
in ``examples``; ``unstir verify`` then measures what it claims.
"""
