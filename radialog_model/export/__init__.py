"""Checkpoints on their way out: merged, renamed for an engine, self-contained, with a card."""
