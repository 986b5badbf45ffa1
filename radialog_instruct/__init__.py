"""Turns public and credentialed chest X-ray collections into the RaDialog-Instruct dataset."""
