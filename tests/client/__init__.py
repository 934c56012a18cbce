"""Tests of the client of coding sessions."""
