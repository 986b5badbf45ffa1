from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from radialog_instruct.errors import ModelError, UsageError
from radialog_instruct.records import ReplayAsk, Terms, Turn
from radialog_instruct.replay.hosts import check_host, is_private
from radialog_instruct.replay.identity import folder_digest, model_identity
from radialog_instruct.replay.request import ModelIdentity, ReplayPolicy

ASK = ReplayAsk((Turn("system", "Be brief."), Turn("user", "Ist das Herz groß?")), 64, regex="(Yes|No)")
POLICY = ReplayPolicy(identity=ModelIdentity(model="org/llm", revision="abc"))


def test_the_key_is_what_it_always_was() -> None:
    # A change of this value makes every cache useless: raise KEY_VERSION and say so in the changelog.
    assert POLICY.request(ASK, 0).key.hex() == "58a2a8b347bda78b6cb37023e4b38e2724a9bf971c78457e795c84840781bccb"


@pytest.mark.parametrize(
    "other",
    [
        POLICY.request(ASK, 1),
        POLICY.request(ASK, 0, longer=2),
        POLICY.request(replace(ASK, regex=None), 0),
        POLICY.request(replace(ASK, choices=("yes", "no")), 0),
        POLICY.request(replace(ASK, messages=ASK.messages[1:]), 0),
        POLICY.model_copy(update={"temperature": 0.5}).request(ASK, 0),
        POLICY.model_copy(update={"structured": False}).request(ASK, 0),
        POLICY.model_copy(update={"identity": ModelIdentity(model="org/llm", revision="abd")}).request(ASK, 0),
        POLICY.model_copy(
            update={"identity": ModelIdentity(model="org/llm", revision="abc", chat_template="1")}
        ).request(ASK, 0),
    ],
)
def test_whatever_changes_the_answer_changes_the_key(other) -> None:
    assert other.key != POLICY.request(ASK, 0).key


def test_what_does_not_change_the_answer_leaves_the_key() -> None:
    for change in ({"attempts": 9}, {"judge": True}, {"retry_temperature": 1.0}):
        assert POLICY.model_copy(update=change).request(ASK, 0).key == POLICY.request(ASK, 0).key


def test_the_first_attempt_is_greedy_and_further_ones_are_not() -> None:
    assert POLICY.request(ASK, 0).sampling.temperature == 0.0
    assert POLICY.request(ASK, 1).sampling.temperature == 0.7


def test_a_folder_is_known_by_its_files_and_not_by_its_place(tmp_path: Path) -> None:
    for name in ("one/llm", "two/llm"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"w" * 3_000_000)
    one, two = (model_identity(str(tmp_path / n / "llm"), None, None) for n in ("one", "two"))
    assert one == two
    assert one.model == "llm"
    for change in (b"w" * 2_999_999 + b"x", b"x" + b"w" * 2_999_999, b"w" * 2_999_999):
        (tmp_path / "two" / "llm" / "model.safetensors").write_bytes(change)
        assert folder_digest(tmp_path / "two" / "llm") != one.revision


def test_a_path_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        model_identity(str(tmp_path), None, None)
    with pytest.raises(ModelError, match="no such folder"):
        model_identity("./nowhere", None, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.7", "::1"])
def test_own_machines_may_read_everything(host: str) -> None:
    assert is_private(host)
    address = f"[{host}]" if ":" in host else host
    check_host(f"http://{address}:8000/v1", Terms.CREDENTIALED, ())


@pytest.mark.parametrize("url", ["https://8.8.8.8/v1", "https://api.example.invalid/v1", "http://0.0.0.0:8000/v1"])
def test_credentialed_reports_leave_for_a_public_host_only_with_the_users_word(url: str) -> None:
    with pytest.raises(UsageError, match="credentialed"):
        check_host(url, Terms.CREDENTIALED, ())
    check_host(url, Terms.OPEN, ())
    check_host(url, Terms.NO_DERIVATIVES, ())
    host = url.split("/")[2].split(":")[0]
    check_host(url, Terms.CREDENTIALED, (host,))
    with pytest.raises(UsageError, match="credentialed"):
        check_host(url, Terms.CREDENTIALED, ("other.example",))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1/v1", "http://", "http://me:secret@127.0.0.1/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no address|password"):
        check_host(url, Terms.OPEN, ())
