"""Raw bytes in, raw bytes out: what the door does with whatever can be sent to it."""
