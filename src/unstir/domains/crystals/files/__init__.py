"""Files of crystals: a module for each kind; ``reading`` finds the right one, ``soundness`` looks the crystals over.

Each module has one function that yields, in the order of the file, a ``Crystal`` or an ``Unread`` with the reason.
"""
