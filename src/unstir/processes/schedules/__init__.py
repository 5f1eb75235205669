"""Noise schedules of the Gaussian process: one file each; ``base.py`` says what a schedule is."""
