"""Proves what is in a built dataset: leaks, balance, targets, schema; and shows it on a page."""
