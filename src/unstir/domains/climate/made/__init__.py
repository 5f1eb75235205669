"""Data that is made here, each of a known law or model; ``embedded`` knows them by name.

A new one is a file with a function that returns an xarray Dataset, and its name in ``embedded.EMBEDDED``.
"""
