"""The engines behind a replay."""
