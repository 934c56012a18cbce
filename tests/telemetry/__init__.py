"""Tests of hadesgw.telemetry."""
