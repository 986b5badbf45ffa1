"""Invented data in the layout of real projects, for people without access, for tests and for benchmarks."""
