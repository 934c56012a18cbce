"""Decisions: values in, verdicts out. Nothing here opens a connection, waits, or knows Twisted."""
