"""Annotations: what other projects say about a source's studies, attached by study id."""

from __future__ import annotations

from radialog_instruct.annotations.attach import AnnotatedReader, Annotations

__all__ = ["AnnotatedReader", "Annotations"]
