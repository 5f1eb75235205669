"""Molecules in files: read by kind, one module each, and written.

``convert`` goes to and from RDKit's and ASE's objects; ``reading`` finds the kind. May import what ``domains`` may.
"""
