"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_NAMED = 20
"""Rows named by a failing check; all of them are counted."""


@dataclass
class CheckResult:
    """The outcome of one check.

    Attributes:
        name: Its name.
        question: What it asks of the dataset.
        checked: Things looked at.
        failed: Things that fail; any makes the dataset fail.
        counted: Things worth knowing that do not fail, by remark.
        named: The first failing rows: file, row and what is wrong.
    """

    name: str
    question: str
    checked: int = 0
    failed: int = 0
    counted: dict[str, int] = field(default_factory=dict)
    named: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return self.failed == 0

    def fail(self, where: str) -> None:
        """Count a failure and name it while there is room."""
        self.failed += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(where)

    def count(self, remark: str, n: int = 1) -> None:
        """Count something that does not fail."""
        self.counted[remark] = self.counted.get(remark, 0) + n
