"""What carries the exchange elsewhere; not part of what is installed."""
