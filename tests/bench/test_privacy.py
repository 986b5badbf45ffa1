from __future__ import annotations

import pytest

from radialog_bench.privacy import shareable


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/home/someone/model.py:M", "model.py:M"),
        ("~/weights/w.pt", "w.pt"),
        ("weights=/data/w.pt", "weights=w.pt"),
        ("api_key=sk-123", "api_key=(hidden)"),
        ("hf_token=abc", "hf_token=(hidden)"),
        ("max_new_tokens=300", "max_new_tokens=300"),
        ("base_url=http://localhost:8000/v1", "base_url=http://localhost:8000/v1"),
        ("--split=test", "--split=test"),
        ("radialog-project", "radialog-project"),
        (3, 3),
        (None, None),
        (
            {"api_key": "sk", "args": {"weights": "/a/b.pt", "password": "x"}},
            {"api_key": "(hidden)", "args": {"weights": "b.pt", "password": "(hidden)"}},
        ),
        (("run", "-o", "/tmp/x/run"), ("run", "-o", "run")),
        ({"token": ""}, {"token": ""}),
    ],
)
def test_folders_and_secrets_stay_here(given: object, expected: object) -> None:
    assert shareable(given) == expected
