"""The life of the process: listening, draining."""
