"""Does an adapter keep the contract? Checks for authors of adapters, to run in their own tests.

from radialog_bench.testing import check_adapter

def test_my_adapter():
report = check_adapter(MyAdapter())
assert report.passed, report
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from radialog_bench.adapters.base import Adapter, BenchContext, rendered_messages
from radialog_bench.chat import Generation, ImageRef, Message, Request, Response
from radialog_bench.contract import checked_responses
from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import ModelError, RadialogError
from radialog_instruct.records import Terms
from radialog_instruct.sources import open_source

Status = Literal["passed", "failed", "noted"]
"""``noted``: allowed, but its author should know."""
_TOKENS = 16


@dataclass(frozen=True)
class Check:
    """What became of one check.

    Attributes:
        name: What is checked.
        status: The outcome.
        detail: What was seen; empty where it passed.
    """

    name: str
    status: Status
    detail: str = ""


@dataclass(frozen=True)
class ConformanceReport:
    """All checks; its text is a table.

    Attributes:
        subject: What was checked.
        checks: The outcomes.
        verdicts: What the table's heading says when all is well, and when something failed.
    """

    subject: str
    checks: tuple[Check, ...]
    verdicts: tuple[str, str] = ("keeps the contract", "breaks the contract")

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.status != "failed" for check in self.checks)

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = [f"{check.status:<7} {check.name:<{width}}  {check.detail}".rstrip() for check in self.checks]
        return "\n".join([f"{self.subject}: {self.verdicts[0 if self.passed else 1]}", *lines])


def check_adapter(adapter: Adapter, *, images: tuple[Path, ...] | None = None) -> ConformanceReport:
    """Ask an adapter what a run would ask, and some things it should never be asked.

    About twenty short requests, all greedy. Answers are never judged for what they say.

    Args:
        adapter: The adapter, built and not yet prepared.
        images: Two images to ask about; by default two of the demonstration collection.

    Returns:
        The outcome of each check; an exception of the adapter is an outcome too.
    """
    pictures = images or tuple(sorted((demo_dir() / "images").iterdir())[:2])
    kit = _Kit(adapter, pictures)
    checks: list[tuple[str, Callable[[], str | None]]] = [
        ("fingerprint is a stable text", kit.fingerprint),
        ("prepare takes what a run tells", kit.prepare),
        ("every request of a batch has one answer", kit.count),
        ("an empty batch has no answers", kit.empty_batch),
        ("one request, and the same again, has the same answer", kit.determinism),
        ("equal questions with different ids are answered each", kit.duplicates),
        ("an answer does not depend on its batch", kit.batch),
        ("an answer does not depend on the order", kit.order),
        ("a dialog of several turns is answered", kit.turns),
        ("nothing is remembered between dialogs", kit.stateless),
        ("any Unicode is taken", kit.unicode),
        ("an empty question is answered or fails", kit.empty_prompt),
        ("a question without an image is answered or fails", kit.no_image),
        ("a missing image fails alone", kit.missing_image),
        ("a file that is no image fails alone", kit.broken_image),
        ("a very long dialog fails alone or is answered", kit.long_dialog),
        ("render ends with a user turn", kit.render),
    ]
    return ConformanceReport(adapter.name, tuple(outcome(name, check) for name, check in checks))


def outcome(name: str, check: Callable[[], str | None]) -> Check:
    """Run a check.

    Args:
        name: What is checked.
        check: Returns None, or a remark; raises what is wrong.
    """
    try:
        remark = check()
    except (BrokenContract, RadialogError) as error:
        return Check(name, "failed", str(error))
    except Exception as error:  # noqa: BLE001 - an adapter may raise anything, and that is the finding
        return Check(name, "failed", f"{type(error).__name__}: {error}")
    return Check(name, "noted", remark) if remark else Check(name, "passed")


class BrokenContract(Exception):  # noqa: N818 - an outcome, not an error of the kit
    """A check that failed."""


class _Kit:
    """The checks; each returns a remark, or None, or raises."""

    def __init__(self, adapter: Adapter, pictures: tuple[Path, ...]) -> None:
        self._adapter = adapter
        self._pictures = [ImageRef(path.stem, path) for path in pictures]
        self._known: dict[str, str] = {}
        self._plain = [self._request(f"r{n}", self._question(n), n) for n in range(3)]

    def fingerprint(self) -> str | None:
        first, second = self._adapter.fingerprint(), self._adapter.fingerprint()
        demand(isinstance(first, str) and first != "", f"it is {first!r}")
        demand(first == second, "two calls differ, so that no run can be resumed")
        return None

    def prepare(self) -> str | None:
        self._adapter.prepare(
            BenchContext(
                answer=lambda request: f"reference of {request.turn}",
                study_of={f"{image.image_id}/{image.image_id}": ("study", "subject") for image in self._pictures},
                findings={},
                studies=lambda: open_source("demo").studies(),
                split="test",
                terms=Terms.OPEN,
            )
        )
        return None

    def count(self) -> str | None:
        failed = [response for response in self._ask(self._plain) if response.error is not None]
        if len(failed) == len(self._plain):
            raise BrokenContract(f"all plain questions fail: {failed[0].error}")
        return f"{len(failed)} of {len(self._plain)} plain questions fail: {failed[0].error}" if failed else None

    def empty_batch(self) -> str | None:
        demand(not list(self._adapter.generate([])), "it answers nobody")
        return None

    def determinism(self) -> str | None:
        first, second = self._texts(self._plain[:1]), self._texts(self._plain[:1])
        demand(first == second, f"{first} and then {second}, at temperature 0")
        return None

    def duplicates(self) -> str | None:
        twins = [self._request(name, self._question(0), 0) for name in ("twin-a", "twin-b")]
        first, second = (response.text for response in self._ask(twins))
        return None if first == second else f"their answers differ: {first!r} and {second!r}"

    def batch(self) -> str | None:
        together = self._good()
        alone = {name: text for request in self._plain for name, text in self._texts([request]).items()}
        differ = [name for name in together if together[name] != alone[name]]
        return f"{len(differ)} of {len(together)} differ between a batch and alone (rounding?)" if differ else None

    def order(self) -> str | None:
        forward, backward = self._good(), self._texts(self._plain[::-1])
        differ = [name for name in forward if forward[name] != backward[name]]
        return f"{len(differ)} of {len(forward)} differ in another order (rounding?)" if differ else None

    def turns(self) -> str | None:
        return self._answered(self._dialog("turns", "The heart is enlarged."))

    def stateless(self) -> str | None:
        before = self._texts(self._plain[:1])
        self._ask([self._dialog("between", "There is a large pneumothorax.")])
        after = self._texts(self._plain[:1])
        demand(before == after, f"{before} before another dialog and {after} behind it")
        return None

    def unicode(self) -> str | None:
        text = "Befund? Größe 3 µm²; 胸部X線; \U0001fac1; \u202eabc\u202c; <image> </s> {{ x }}"
        return self._answered(self._request("unicode", text, 0))

    def empty_prompt(self) -> str | None:
        return self._answered(self._request("empty", "", 0))

    def no_image(self) -> str | None:
        return self._answered(Request("no-image", "report_generation", "report", self._plain[0].messages))

    def missing_image(self) -> str | None:
        return self._alone(Path("no-such-folder") / "no-such-image.png")

    def broken_image(self) -> str | None:
        return self._alone(demo_dir() / "SOURCES.tsv")

    def long_dialog(self) -> str | None:
        request = self._request("long", "Look again at the lungs. " * 2_000, 0)
        return self._isolated(request)

    def render(self) -> str | None:
        for request in (self._plain[0], self._dialog("render", "Normal.")):
            messages = rendered_messages(self._adapter, request)
            whole = bool(messages) and all(isinstance(message, Message) for message in messages)
            demand(whole and messages[-1].role == "user", f"{messages!r}")
        return None

    def _alone(self, path: Path) -> str | None:
        bad = Request("bad", "report_generation", "report", self._plain[0].messages, (ImageRef("bad", path),))
        remark = self._isolated(bad)
        if remark is None and self._adapter.needs_images and "bad" in self._texts([bad]):
            return "it answers about an image that it cannot have read"
        return remark

    def _isolated(self, bad: Request) -> str | None:
        """Ask a bad request between good ones, which must be answered as ever."""
        good = self._good()
        mixed = {response.id: response for response in self._ask([self._plain[0], bad, *self._plain[1:]])}
        lost = [name for name in good if mixed[name].error is not None]
        demand(not lost, f"it takes {len(lost)} of {len(good)} others along: {mixed[lost[0]].error if lost else ''}")
        return None

    def _answered(self, request: Request) -> str | None:
        (response,) = self._ask([request])
        return None if response.error is None else f"it fails: {response.error.message[:200]}"

    def _good(self) -> dict[str, str]:
        """Return the answers to the plain questions, asked once."""
        self._known = self._known or self._texts(self._plain)
        return self._known

    def _texts(self, requests: list[Request]) -> dict[str, str]:
        return {response.id: response.text for response in self._ask(requests) if response.text is not None}

    def _ask(self, requests: list[Request]) -> list[Response]:
        try:
            return list(checked_responses(self._adapter, requests))
        except ModelError as error:
            raise BrokenContract(error.what) from error

    def _request(self, name: str, text: str, n: int) -> Request:
        image = self._pictures[n % len(self._pictures)]
        identifier = f"selfcheck/{image.image_id}/{image.image_id}#{name}"
        return Request(
            identifier, "report_generation", "report", (Message("user", text),), (image,), Generation(_TOKENS)
        )

    def _question(self, n: int) -> str:
        return "Describe this chest X-ray." + " Be brief." * n

    def _dialog(self, name: str, report: str) -> Request:
        turns = (Message("user", self._question(0)), Message("assistant", report), Message("user", "Is that urgent?"))
        image = self._pictures[0]
        identifier = f"selfcheck/{image.image_id}/{image.image_id}#{name}"
        return Request(identifier, "findings_qa_binary", "binary", turns, (image,), Generation(_TOKENS))


def demand(held: bool, otherwise: str) -> None:
    """Raise ``BrokenContract`` where something does not hold."""
    if not held:
        raise BrokenContract(otherwise)
