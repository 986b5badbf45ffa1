"""Models under test: the interface, the registry, and the built-in baselines."""

from __future__ import annotations

from radialog_bench.adapters.base import Adapter, BenchContext
from radialog_bench.adapters.registry import load_adapter, model_names

__all__ = ["Adapter", "BenchContext", "load_adapter", "model_names"]
