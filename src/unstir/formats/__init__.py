"""Files that can be read: one module for each format.

May import ``core`` only. A format is one new file here: a docstring whose first line says what it
reads, a literal ``__all__`` with one name, and under that name a ``Format`` (see ``base``) that tells
how to recognise such a file and how to read it into ``Samples``. Modules without ``__all__`` are helpers.
"""
