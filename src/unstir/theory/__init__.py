"""What the theory of diffusion models says of a law that is known: its equations, run with the exact score.

``forward_law.py`` the noisy law by three routes; ``reverse_time.py`` Anderson's reverse-time equation, the
probability flow and the density along it; ``control.py`` gathering as optimal control, whose energy is a divergence;
``modes.py`` the peaks that merge; ``information.py`` signal, noise and what is still to be seen. Functions of a
denoiser, each with claims in ``verification/checks/theory.py``. May import ``exact``, ``denoisers``, ``processes``,
``physics`` and ``core``.
"""
