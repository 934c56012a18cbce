"""Coding sessions: a real coding agent at work in a directory, watched and steered by several clients at once."""
