"""Belief about the clean data, given the noisy: posteriors, and the denoisers that return them.

``base.py`` the interface, ``posteriors.py`` the kinds of belief, ``network.py`` a network made into a
denoiser, ``parameterisations.py`` what it predicts, ``weightings.py`` and ``noise_levels.py`` how it is
trained. May import ``processes``, ``networks`` and ``core``.

Whatever improves a denoiser (guidance, a measurement, an exact law) is a denoiser around it: a new one
derives from ``Denoiser`` and returns a posterior.
"""
