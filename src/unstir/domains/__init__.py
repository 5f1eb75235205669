"""Fields: how their data is read and encoded, drawn, written, and judged.

May import ``training``, ``samplers`` and all below, not ``run``, ``report`` or ``cli``. A field is one new file, or
a folder once it has grown: a docstring whose first line says which data it serves, a literal ``__all__`` with one
name, and under that name a ``Domain`` (see ``base``): a frozen dataclass of functions. What several fields need stands
beside them.
"""
