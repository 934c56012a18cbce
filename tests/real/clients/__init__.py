"""The clients people use, unchanged, in front of the gateway and the rehearsal model."""
