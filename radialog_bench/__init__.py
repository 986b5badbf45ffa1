"""The benchmark for chest X-ray dialog models: six evaluations, any model, numbers one can defend."""
