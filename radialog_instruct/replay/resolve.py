"""From a sample and the answers there are to an accepted answer, a rejection, or the request that is still missing.

The chain is a function of the answers alone: every attempt follows from the verdict on the one before, so a build with
the same cache takes the same answers, whoever asked for them and in which order they came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from radialog_instruct.prompts import PromptLibrary
from radialog_instruct.records import Generator, ReplayAsk, Sample, Turn
from radialog_instruct.replay.cache import Answer
from radialog_instruct.replay.request import ReplayPolicy, ReplayRequest
from radialog_instruct.replay.validate import Verdict

Lookup = Callable[[bytes], Answer | None]
"""The answer to the request with a key, or None."""
TRUNCATED, JUDGED_WRONG = "cut off", "the LLM judge says no"
_LONGER = 2
"""Factor on the new tokens after an answer was cut off."""
_JUDGE_TOKENS = 8


class Accepts(Protocol):
    """What is needed of a replay task here."""

    def accept(self, text: str, sample: Sample) -> Verdict:
        """Judge an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """An answer that was not taken, with the reasons."""

    request: ReplayRequest
    answer: Answer
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Accepted:
    """A sample with its answer.

    Attributes:
        sample: The finished sample.
        attempts: Answers that were not taken before.
        request: The request that was answered.
        answer: Its answer as it came.
    """

    sample: Sample
    attempts: tuple[Attempt, ...]
    request: ReplayRequest
    answer: Answer


@dataclass(frozen=True, slots=True)
class Rejected:
    """A sample none of whose answers was taken."""

    attempts: tuple[Attempt, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the last answer was not taken."""
        return self.attempts[-1].verdict.reasons


@dataclass(frozen=True, slots=True)
class Missing:
    """A sample that waits for an answer."""

    request: ReplayRequest


class Resolver:
    """Resolves samples under one policy.

    Args:
        policy: Which requests are made.
        prompts: Templates, for the judge.
    """

    def __init__(self, policy: ReplayPolicy, prompts: PromptLibrary) -> None:
        self._policy, self._prompts = policy, prompts

    def base_key(self, sample: Sample) -> bytes:
        """Return the key of a sample's first request, by which samples are shared among workers."""
        assert sample.ask is not None
        return self._policy.request(sample.ask, 0).key

    def resolve(self, task: Accepts, sample: Sample, lookup: Lookup) -> Accepted | Rejected | Missing:
        """Follow a sample's attempts as far as there are answers.

        Args:
            task: The sample's task.
            sample: A sample with an ``ask``.
            lookup: Gives answers by key.
        """
        assert sample.ask is not None
        attempts: list[Attempt] = []
        longer = 1
        for number in range(self._policy.attempts):
            request = self._policy.request(sample.ask, number, longer=longer)
            answer = lookup(request.key)
            if answer is None:
                return Missing(request)
            verdict = task.accept(answer.text, sample)
            if answer.finish_reason == "length":
                verdict, longer = verdict.because(TRUNCATED), _LONGER
            score: float | None = None
            if verdict.accepted and self._policy.judge:
                asked = self._judge_request(sample, verdict.text)
                judged = lookup(asked.key)
                if judged is None:
                    return Missing(asked)
                score = float(judged.text.strip().lower().startswith("yes"))
                if not score:
                    verdict = verdict.because(JUDGED_WRONG)
            if verdict.accepted:
                return Accepted(finished(sample, verdict, request, answer, score), tuple(attempts), request, answer)
            attempts.append(Attempt(request, answer, verdict))
        return Rejected(tuple(attempts))

    def _judge_request(self, sample: Sample, text: str) -> ReplayRequest:
        report = sample.study.sections.findings or ""
        system = self._prompts.render("replay/judge", "system")
        user = self._prompts.render(
            "replay/judge", "user", report=report, instruction=sample.turns[-1].content, answer=text
        )
        ask = ReplayAsk((Turn("system", system), Turn("user", user)), _JUDGE_TOKENS, choices=("yes", "no"))
        return self._policy.model_copy(update={"temperature": 0.0}).request(ask, 0)


def finished(
    sample: Sample, verdict: Verdict, request: ReplayRequest, answer: Answer, judge_score: float | None
) -> Sample:
    """Return a sample with its accepted answer and where that comes from."""
    identity, engine = answer.engine.identity, answer.engine
    return replace(
        sample,
        turns=(*sample.turns, Turn("assistant", verdict.text)),
        generator=Generator(
            model=identity.model,
            revision=identity.revision,
            engine=engine.name,
            engine_version=engine.version,
            request_hash=request.key.hex(),
            sampling_hash=answer.sampling.hash,
            finish_reason=answer.finish_reason,
        ),
        flags=(*sample.flags, *verdict.flags),
        judge_score=judge_score,
    )
