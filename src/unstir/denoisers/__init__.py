"""Belief about the clean data, given the noisy: posteriors, and the denoisers that return them.

``base.py`` the interface; ``posteriors.py`` the kinds of belief about vectors, ``discrete.py`` about tokens,
``circular.py``, ``lattice.py``, ``interval.py``, ``simplex.py``, ``rotational.py``, ``spherical.py`` and
``spectral.py`` about what their names say, ``joint.py`` about several parts. ``learned/`` makes networks into
denoisers, one file for each kind of data; ``parameterisations.py`` what a network predicts, ``weightings.py`` and
``noise_levels.py`` how it is trained, ``variances.py`` the variance that a point lacks; ``tiled.py`` serves pictures
larger than a network's. May import ``processes``,
``networks`` and ``core``.

Whatever improves a denoiser (guidance, a measurement, an exact law) is a denoiser around it: a new one
derives from ``Denoiser`` and returns a posterior.
"""
