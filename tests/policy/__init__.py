"""Tests of the decisions: values in, verdicts out."""
