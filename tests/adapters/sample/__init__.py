"""Tests of the county generator."""
