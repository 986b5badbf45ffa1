"""The benchmark for chest X-ray dialog models: any model in ten lines, numbers one can defend."""

from __future__ import annotations

from radialog_bench.adapters.base import Adapter
from radialog_bench.chat import Generation, ImageRef, Message, Request, Response
from radialog_bench.dialog import All, Ask, AskFailed, Dialog, Label

__all__ = [
    "Adapter",
    "All",
    "Ask",
    "AskFailed",
    "Dialog",
    "Generation",
    "ImageRef",
    "Label",
    "Message",
    "Request",
    "Response",
]
