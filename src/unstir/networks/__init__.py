"""Architectures: U-Net, diffusion transformer, MLP.

May import ``unstir.core`` and nothing else of unstir. A network is an ``nn.Module``::

    network = X(shape, conditions, *, options...)
    output = network(x, noise, drop=None, **condition)

``shape`` is the shape of one sample, ``noise`` a quarter of ln(sigma / alpha), ``output`` is like ``x``
and starts at zero. With the option ``outputs=2`` it has twice the channels, which a learned variance
needs. What the conditions are and how they reach a network is written once, in ``conditioning.py``; use
its ``Conditioner``.

To add an architecture, write one file here whose ``__all__`` names the class; give its options as
keyword arguments with plain defaults, so that a recipe can set them. ``tests/networks`` puts every
entry of the catalogue through the same contract.
"""
