"""hadesgw: the front door of a vLLM server that listens only on an AF_UNIX socket."""

__version__ = "0.1.0"
