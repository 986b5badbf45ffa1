"""Labelers: text to the 14 CheXpert labels."""
