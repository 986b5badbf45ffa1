"""Builds the dataset: a plan, shards of patients, a manifest."""
