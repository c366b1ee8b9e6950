"""Tests of what starts real servers on this machine."""
