"""The command `exchange`: data on stdout, talk on stderr, exit codes by error family."""
