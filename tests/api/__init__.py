"""The exchange over HTTP: in one process without a socket, and as it is served."""
