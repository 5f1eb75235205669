"""Measures of samples against data: distances, neighbourhoods, classes, memorisation, two-sample tests.

Everything here is a pure function of feature vectors and values; nothing knows of a field, a model
or a run. May import ``unstir.core`` only (layer 0+). ``evaluate.evaluate`` measures a whole list of
metrics with noise floor, interval and baselines; each metric can also be used alone::

    from unstir.metrics.frechet import frechet_distance

To add a metric: one new file with a frozen dataclass that subclasses ``base.Metric``, named in the
file's ``__all__``; its ``measure`` returns the value and how to recompute it for resampled rows.
Modules without ``__all__`` (base, resampling, distances, baselines, features, inception, evaluate)
are the machinery; ``pictures.py`` compares pictures one by one, ``fairness.py`` groups, and ``excess.py``
finds too strong a guidance, in sweeps.
"""
