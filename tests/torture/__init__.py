"""Kills the exchange at random points and at every system call, and checks what is left: `make torture`."""
