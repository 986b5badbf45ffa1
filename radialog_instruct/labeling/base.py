"""What a labeler is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from radialog_instruct.findings import Labels


class TextLabeler(Protocol):
    """Turns texts into the 14 CheXpert labels.

    Attributes:
        name: Its name, as it stands in the ``labeler`` column.
    """

    name: str

    def signature(self) -> str:
        """Return name, version and a hash of what the labels depend on."""
        ...

    def label_many(self, texts: Iterable[str]) -> list[Labels]:
        """Label texts, in their order."""
        ...
