"""Classical diffusion, solved and simulated: what stirring is, before anything is learned.

Paths of particles (``brownian_motion.py``, ``ornstein_uhlenbeck.py``, ...) are float64 tensors drawn with
addressed ``Seeds``; fields on grids and meshes (``heat_*.py``, ``fractional_*.py``, ``fokker_planck.py``, ...) are
NumPy arrays. Everything computes in any one consistent system of units, and takes and returns pint quantities where
it is handed some (``units.py``). May import ``core`` only.

A new solver or simulator is a new file with its name in ``__all__``, and a claim about it in
``verification/checks``.
"""
