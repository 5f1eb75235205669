"""Training: one loop for any denoiser and any data.

- ``loop.py`` the run from start to end; ``session.py`` the parts and their single step; ``options.py`` all that a
  recipe may say; ``settings.py`` what its "auto" means; ``parallel.py`` several processes.
- ``couplings.py`` which source goes with which data; ``bridges.py`` straighter flows and Schrödinger bridges, by
  training again on what was learned; ``pairs.py`` data for both.
- ``data.py`` what is asked of data; ``addresses.py`` which samples and draws belong to which step.
- ``optimizer.py`` AdamW; ``learning_rates.py``; ``profiles.py``, ``averages.py``, ``posthoc.py`` averages of
  the weights.
- ``checkpoints.py`` what is kept; ``progress.py`` and ``trackers/`` what is told; ``interruption.py`` signals.

May import ``denoisers`` and what lies below, not ``samplers``.

A new learning-rate schedule is a class in ``learning_rates.py``; a new tracker is a file in ``trackers/``
with a class that has ``start``, ``log`` and ``finish``, its name in ``__all__``.
"""
