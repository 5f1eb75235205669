"""Inverse problems: what is behind a measurement, drawn from its posterior law.

``measurement.py`` puts together what was read, the operator that it was seen through (``operators/``, one file a
family) and the noise of reading (``noises/``). ``methods/`` holds the ways to draw from p(x_0 | y), each with a word on
what it is exact for; ``solving.py`` runs one and collects what comes of it, and ``calibration.py`` measures whether its
uncertainty can be believed. May import everything from ``samplers`` downwards.

A new operator, noise or method is a new file in its folder: a frozen dataclass derived from ``Operator`` (or
``LinearOperator``), ``MeasurementNoise`` or ``Method``, with its name in ``__all__`` and a classmethod ``examples`` on
which `unstir verify` measures its claims.
"""
