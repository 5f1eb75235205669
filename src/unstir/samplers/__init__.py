"""Ways from noise to data: one file per family of samplers.

``base.py`` holds the interface and the driver ``sample``; ``ancestral.py`` serves every process,
``exponential.py`` and ``runge_kutta.py`` the Gaussian one. May import everything from ``denoisers``
downwards.

A new sampler is a new file (or, for a member of a family, a preset in its file): a frozen dataclass
derived from ``Sampler`` that declares its order and spaces and has one method, ``step``; name it in
``__all__``. It knows nothing of guidance, conditions or batches.
"""
