"""Tests of the department's side."""
