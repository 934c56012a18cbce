"""A real vLLM on a UNIX socket, and the gateway in front of it."""
