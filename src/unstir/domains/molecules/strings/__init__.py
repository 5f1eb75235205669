"""Molecules as strings, SELFIES or SMILES, for screening sizes: tokens under masking noise.

``alphabets`` cuts strings into tokens, ``encoding`` numbers them, ``data`` reads molecules into them and proposes
process and network, ``writing``, ``drawing`` and ``figures`` bring samples out, ``judging`` measures them.
"""
