"""What steers: denoisers around denoisers, so that any sampler follows them and they can be stacked.

``base.py`` has what guides share: a strength that may depend on the noise level and on the part of a joint state,
gradients that go on through guides around guides, and beliefs with another mean. By what they are steered with:

- beliefs beside: ``classifier_free.py`` goes beyond what a condition tells, ``auto.py`` beyond a weaker model,
  ``composed.py`` puts conditions and models together, and away from unwanted ones;
- functions: ``classifier.py`` asks another model for the probability of what is wanted, ``energy.py`` any function that
  is to be small, a regressor's error among them;
- what data must obey: ``constraints.py`` has residuals and projections, ``constrained.py`` and ``projection.py`` the
  soft and the strict guide of them, ``symmetric.py`` averages over a group;
- other samples of the batch: ``diversity.py`` and ``fairness.py``, whose draws depend on the group they are drawn in;
- ``given_parts.py`` takes parts of a joint state as known.

Where no formula is known, ``reweighted.py`` and ``tilted.py`` resample draws. May import ``denoisers``, ``processes``,
``metrics``, ``physics`` and ``core``.

A new guide is a new file: a class derived from ``Guide`` with its name in ``__all__``, that takes a denoiser and
returns a belief. It says of each kind of space what it does there, refuses the others, and leaves a belief alone where
its strength is zero. A classmethod ``examples`` hands the class to the claims of ``unstir verify``.
"""
