"""The gateway's TLS, judged by sslyze against Mozilla's recommendations."""
