from __future__ import annotations

import pytest

from radialog_bench.report.differences import (
    MAX_WORDS,
    compare_findings,
    compare_words,
    mark_answer,
    mark_reference,
)

ANSWER = "The heart is enlarged. No pleural effusion. Lungs are clear."
REFERENCE = "Heart size is normal. There is a left pleural effusion. The heart is enlarged."


def test_findings_are_split_into_agreed_added_and_missed() -> None:
    found = compare_findings("cardiomegaly, edema", "cardiomegaly, pleural effusion")
    assert found is not None
    assert (found.both, found.added, found.missed) == (("Cardiomegaly",), ("Edema",), ("Pleural Effusion",))
    same = compare_findings("no common findings", "no common findings")
    assert same is not None
    assert (same.both, same.added, same.missed) == ((), (), ())


@pytest.mark.parametrize("pair", [("ap", "pa"), (None, "edema"), ("edema", None), ("edema", "a thing")])
def test_what_is_no_list_of_findings_is_not_compared(pair: tuple[str | None, str | None]) -> None:
    assert compare_findings(*pair) is None


def test_sentences_are_marked_where_the_finding_is_mentioned_and_not_denied() -> None:
    found = compare_findings("cardiomegaly, edema", "cardiomegaly, pleural effusion")
    assert found is not None
    answer = mark_answer(ANSWER, found)
    assert [(piece.text, piece.verdict) for piece in answer if piece.verdict] == [("The heart is enlarged.", "both")]
    reference = mark_reference(REFERENCE, found)
    assert [(piece.text, piece.verdict, piece.why) for piece in reference if piece.verdict] == [
        ("There is a left pleural effusion.", "missed", "pleural effusion"),
        ("The heart is enlarged.", "both", "cardiomegaly"),
    ]
    assert "".join(piece.text for piece in answer) == ANSWER
    assert "".join(piece.text for piece in reference) == REFERENCE


@pytest.mark.parametrize("text", ["", "   ", "1.2.3", "\n\nedema\n\n", "<b>edema</b> & effusion", "İ edema. \u2028x"])
def test_pieces_always_join_to_the_text(text: str) -> None:
    found = compare_findings("edema", "pleural effusion")
    assert found is not None
    assert "".join(piece.text for piece in mark_answer(text, found)) == text


def test_words_are_compared_whatever_their_case() -> None:
    words = compare_words("There is no large effusion today.", "there is a large effusion today.")
    assert words is not None
    assert [(word.side, word.text.strip()) for word in words] == [
        ("both", "there is"),
        ("reference", "no"),
        ("answer", "a"),
        ("both", "large effusion today."),
    ]


def test_very_short_and_very_long_texts_are_not_compared_word_by_word() -> None:
    assert compare_words("AP", "PA") is None
    assert compare_words("x " * (MAX_WORDS + 1), "y") is None
    assert compare_words("", "one two three four five") is not None
