"""How probable data is under a denoiser: exact log-density along the flow, bounds, and bits per dimension.

``flow.py`` follows the probability flow and its divergence; ``bound.py`` adds up the evidence lower bound, in
discrete or continuous time; ``dequantisation.py`` makes densities into probabilities of whole numbers. What is
returned always says its unit (nats, or bits per dimension) and its standard error. May import everything from
``theory`` downwards.

A new estimate is a new file with a function named in ``__all__``; ``unstir verify likelihood`` finds it by name, and
its claims are checks of the kind ``likelihood``.
"""
