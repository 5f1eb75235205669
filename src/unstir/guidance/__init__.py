"""What steers: denoisers around denoisers, so that any sampler follows them and they can be stacked.

``base.py`` has what guides share: a strength that may depend on the noise level and on the part of a joint state, the
parts of beliefs, and beliefs with another mean. ``classifier_free.py`` goes beyond what a condition tells,
``classifier.py`` asks another model for the probability of what is wanted, ``given_parts.py`` takes parts of a joint
state as known; ``reweighted.py`` is the belief where no
formula is known. May import ``denoisers``, ``processes``, ``physics`` and ``core``.

A new guide is a new file: a class derived from ``Guide`` with its name in ``__all__``, that takes a denoiser and
returns a belief. It says of each kind of space what it does there, refuses the others, and leaves a belief alone where
its strength is zero. A classmethod ``examples`` hands the class to the claims of ``unstir verify``.
"""
