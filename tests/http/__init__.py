"""Tests of the wire: HTTP/1.1 on both sides of the door."""
