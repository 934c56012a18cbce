"""Tests of hadesgw.service."""
