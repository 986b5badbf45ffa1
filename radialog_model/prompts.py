"""From a neutral dialog to the published prompt layout: image and findings text stand in the first user turn only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Turn

IMAGE_TOKEN = "<image>"  # noqa: S105 - a placeholder in the prompt, no secret
Chat = list[dict[str, str]]


def chat_template() -> str:
    """Return the Vicuna v1.1 chat template, with generation marks around what the assistant says."""
    path: Path = default_prompts().folder / "chat" / "vicuna.jinja"
    return path.read_text(encoding="utf-8")


def layout(turns: Sequence[Turn], findings: str | None) -> Chat:
    """Return the dialog in the published layout, with the system sentence in front.

    Args:
        turns: The neutral dialog, beginning with a user turn.
        findings: The findings text, or None for a prompt without one: (h, I) of the paper's equation 1.
    """
    prompts = default_prompts()
    first, *rest = turns
    if findings is None:
        content = prompts.render(CONSTANTS, "without_findings", image=IMAGE_TOKEN, instruction=first.content)
    else:
        content = prompts.render(
            CONSTANTS, "report_with_findings", image=IMAGE_TOKEN, findings=findings, instruction=first.content
        )
    return [
        {"role": "system", "content": prompts.render(CONSTANTS, "system")},
        {"role": "user", "content": content},
        *({"role": turn.role, "content": turn.content} for turn in rest),
    ]


def asks_for_a_report_first(task: str, n_turns: int) -> bool:
    """Tell whether a dialog begins with the report prompt, the only turn that carries findings text.

    Args:
        task: Task of the last user turn.
        n_turns: Turns up to and including the last user turn.
    """
    return task == "report_generation" or n_turns > 1
