"""What an operator sees: meters and the log."""
