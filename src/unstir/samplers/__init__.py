"""Ways from noise to data: one file per family of samplers.

The interface is in ``base.py``, with the driver ``sample`` and the loop beneath it, ``follow``. All else is

- families: ``ancestral.py`` (the process's own bridge, on every space, and DDPM's choices of variance);
  ``exponential.py`` and, with states inside the step, ``single_step.py``, whose named methods are in ``presets.py``;
  on tokens ``tau_leaping.py`` (by rates, of first and second order), ``unmasking.py``, ``remasking.py`` and
  ``token_correction.py``, which share ``token_steps.py``; ``joint.py``, a sampler for each part;
  ``runge_kutta.py``, and ``adaptive.py`` to a tolerance; ``langevin.py`` and ``restart.py``, around other samplers;
  ``calibrated.py``, a sampler with coefficients of its own, which ``calibration.py`` finds on the model;
- what the exponential ones share: ``linear.py`` takes every step that is a sum with known coefficients, ``family.py``
  has their options, ``interpolation.py`` the exact weights, ``band_steps.py`` steps by frequency;
- ways to use a sampler: ``brownian.py`` (noise that does not depend on the grid), ``trajectory.py`` (film strips,
  states put away and taken up), ``stopping.py`` (beliefs that are settled), ``parallel.py`` (all steps at once) with
  the coefficients that ``step_coefficients.py`` finds out, ``editing.py`` (part of the way and back), from a level that
  ``noise_estimation.py`` reads off the data;
- from data to noise: ``inversion.py`` by one of the ``inversion_ways.py``, with the equations that ``fixed_point.py``
  solves, and ``noise_interpolation.py``.

May import everything from ``exact`` and ``theory`` downwards.

A new sampler is a new file (or, for a member of a family, a preset in its file): a frozen dataclass derived from
``Sampler`` that declares its order and spaces and has one method, ``step``; name it in ``__all__``. It knows nothing of
guidance, conditions or batches. One that is linear derives from ``LinearSampler`` and says coefficients in place of a
step.
"""
