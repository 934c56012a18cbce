"""A real Aider at work for coding sessions, its model behind the same gateway."""
