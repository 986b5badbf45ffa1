"""Replay: answers written by an LLM that was not fine-tuned, made once, kept, validated and traceable."""
