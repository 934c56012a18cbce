"""Tests of the rehearsal model."""
