"""The gateway measured beside nginx, on one backend, in one run: ``python -m benchmarks``."""
