"""Ways to draw from the law of clean data given a measurement, one file a family; ``base.py`` says what a method is.

Guiding ones, denoisers around denoisers, share ``guided.py``: ``dps.py``, ``pigdm.py``, and ``moment_matching.py``
(TMPD, MMPS, with ``conjugate_gradients.py`` and ``told_gaussian.py``). Stepping ones, samplers of their own, share
``stepping.py``: ``replacement.py`` (and RePaint), ``diffpir.py``, ``daps.py``, ``split_gibbs.py``, of which the last
three use ``proximal.py``; ``ddrm.py`` steps too. ``twisted.py`` moves ``particles.py`` by a twist of ``twists.py``
(``gradient_twist.py``, ``candidate_twist.py``) and picks them by ``resampling.py``.
"""
