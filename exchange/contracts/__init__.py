"""Contracts: what a department promises about a dataset, and the check of its records against it."""
