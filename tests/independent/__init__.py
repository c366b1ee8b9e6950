"""Other people's implementations check our audit log: Go's clients of transparency logs, and two packages of PyPI."""
