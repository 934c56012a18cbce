"""The wire: HTTP/1.1 read and written on both sides of the door."""
