"""Benchmarks: `make bench`, or `python -m tests.bench [--quick] [NAME …]`. What is slow is seen here; no test says it.

Baseline and ours run in the same process by turns, pinned to one core; ratios say more than seconds do.
"""
