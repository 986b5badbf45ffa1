"""An OpenAI-compatible server that writes the published prompt: image, predicted findings, dialog."""
