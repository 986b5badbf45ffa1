"""From a neutral dialog to the published prompt layout: image and findings text stand in the first user turn only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Turn

IMAGE_TOKEN = "<image>"  # noqa: S105 - a placeholder in the prompt, no secret
Chat = list[dict[str, str]]
Variant = Literal["project", "align"]
_FIRST_TURN = {
    ("project", True): (CONSTANTS, "report_with_findings"),
    ("project", False): (CONSTANTS, "without_findings"),
    ("align", True): ("chat/radialog_v1", "report_with_findings"),
    ("align", False): ("chat/layouts", "align_without_findings"),
    ("no image", True): ("chat/layouts", "no_image"),
    ("no image", False): ("chat/layouts", "neither"),
}


def chat_template() -> str:
    """Return the Vicuna v1.1 chat template, with generation marks around what the assistant says."""
    path: Path = default_prompts().folder / "chat" / "vicuna.jinja"
    return path.read_text(encoding="utf-8")


def layout(turns: Sequence[Turn], findings: str | None, *, variant: Variant = "project", image: bool = True) -> Chat:
    """Return the dialog in the published layout, with the system sentence in front.

    Args:
        turns: The neutral dialog, beginning with a user turn.
        findings: The findings text, or None for a prompt without one: (h, I) of the paper's equation 1.
        variant: ``project`` is the layout of the second release, ``align`` that of the first.
        image: Whether the prompt has an image; the ablation without one leaves out its placeholder.
    """
    prompts = default_prompts()
    first, *rest = turns
    name, block = _FIRST_TURN[variant if image else "no image", findings is not None]
    slots = {"instruction": first.content}
    if image:
        slots["image"] = IMAGE_TOKEN
    if findings is not None:
        slots["findings"] = findings
    return [
        {"role": "system", "content": prompts.render(CONSTANTS, "system")},
        {"role": "user", "content": prompts.render(name, block, **slots)},
        *({"role": turn.role, "content": turn.content} for turn in rest),
    ]


def asks_for_a_report_first(task: str, n_turns: int) -> bool:
    """Tell whether a dialog begins with the report prompt, the only turn that carries findings text.

    Args:
        task: Task of the last user turn; the history of ``rad_restruct_qa`` holds questions and answers, no report.
        n_turns: Turns up to and including the last user turn.
    """
    return task == "report_generation" or (n_turns > 1 and task != "rad_restruct_qa")
