"""Training: from a configuration and a built dataset to a checkpoint."""
