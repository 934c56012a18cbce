"""Makes the service known to `twistd` and `twist`; imports nothing of it, so that scanning for plugins cannot fail."""

from twisted.application.service import ServiceMaker

hadesgw = ServiceMaker(
    "hadesgw",
    "hadesgw.tap",
    "The front door of a vLLM server that listens only on an AF_UNIX socket.",
    "hadesgw",
)
