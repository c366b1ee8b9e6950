"""The exchange carried elsewhere."""
