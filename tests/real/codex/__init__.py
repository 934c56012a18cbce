"""The engine `codex` with the real Codex, which works through a real gateway with the rehearsal model behind it."""
