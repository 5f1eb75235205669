"""Files of weather and climate, in and out: opened, named, checked, read in pieces, and written.

``datasets`` puts the others together: ``opening`` (and ``station_tables`` for CSV), ``naming`` of dimensions,
``soundness`` of times and values, ``units``; ``reading`` keeps rows of what exceeds the memory, ``writing`` goes back.
"""
