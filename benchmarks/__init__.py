"""Comparisons with other libraries: ``python -m benchmarks.quality``, ``python -m benchmarks.throughput``.

Each runs in an environment that holds unstir and the peers of ``requirements.txt``; peers that are
not installed are left out and named. Results are written to ``benchmarks/results``.
"""
