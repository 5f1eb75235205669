"""Measures of molecules: valences, graphs, lengths and angles, strain, clashes, novelty, asked properties.

Each takes a sequence of ``Molecule`` and tells the numbers of every single one, from which ``judging`` makes shares,
intervals and rows for data and baselines. May import what ``domains`` may; RDKit only inside functions.
"""
