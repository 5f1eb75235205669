"""Trajectories behind readings: ``assimilation`` with a learned or known law, ``filters`` to compare with."""
