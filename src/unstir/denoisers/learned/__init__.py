"""Networks made into denoisers: one file for each kind of data.

An entry takes a network's plain numbers and makes a belief about the clean data of them: ``network`` for vectors and
pictures, ``tokens``, ``torus``, and so on; ``joint`` puts several together. A process names its entry as ``learned``.
May import what ``denoisers`` may. To add one, write one file here with a class derived from ``LearnedDenoiser`` that
says how many numbers it needs for each element, and how it reads them.
"""
