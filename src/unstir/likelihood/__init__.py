"""How probable data is under a denoiser: exact log-density along the flow, bounds, and bits per dimension.

``flow.py`` follows the probability flow and its divergence, which ``divergence.py`` computes or estimates; ``bound.py``
adds up the evidence lower bound, in discrete or continuous time, ending in one of the terms of ``reconstruction.py``;
``token_bound.py`` does so for tokens, along the clock of ``token_clock.py``; ``spectral_flow.py`` is the flow of what
is stirred by frequency;
``dequantisation.py`` makes densities into probabilities of whole numbers, with a law of the place in the cell that
``flow_dequantiser.py`` can learn; ``bits.py`` holds what they tell, term by term and in bits. What is returned always
says its unit (nats, or bits per dimension) and its standard error. May import everything from ``theory`` downwards.

A new estimate is a new file with a function named in ``__all__``; ``unstir verify likelihood`` finds it by name, and
its claims are checks of the kind ``likelihood``.
"""
