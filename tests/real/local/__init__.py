"""A real small model behind the gateway: `hadesgw demo --gguf`."""
