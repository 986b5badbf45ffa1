"""Published checkpoints become folders of this project's format; one module a publication."""
