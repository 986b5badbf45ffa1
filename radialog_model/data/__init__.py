"""From a built dataset to micro-batches: rows, images, token ids, which tokens are supervised, what stands together."""
