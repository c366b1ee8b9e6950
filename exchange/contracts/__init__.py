"""Contracts: what a department promises about a dataset, and the check of its records against it."""

from exchange.contracts.contract import Contract, FieldTerms, load

__all__ = ["Contract", "FieldTerms", "load"]
