"""``radialog-model generate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from radialog_instruct.errors import DataError, ExitCode
from radialog_model.commands.extras import need_torch


def generate(
    image: Annotated[list[Path], typer.Option(help="An X-ray as JPEG, PNG or DICOM; several give a report each.")],
    weights: Annotated[
        str | None, typer.Option(help="Folder or Hub repository; the demonstration weights by default.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="What to ask; the report prompt by default.")] = None,
    findings: Annotated[
        str, typer.Option(help="Findings text before what is asked, whatever that is: predicted, off, or the text.")
    ] = "predicted",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 300,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Most answers under way at a time.")] = 32,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the decoding step; for long runs.")] = False,
) -> None:
    """Write a report for each image, or answer a question about it."""
    for path in image:
        if not path.is_file():
            raise DataError("no such image", where=str(path), mend="check --image")
    need_torch()
    from radialog_instruct.prompts import CONSTANTS, default_prompts
    from radialog_instruct.records import Turn
    from radialog_instruct.sources.dicom_notes import is_lateral
    from radialog_instruct.sources.images import read_image
    from radialog_model.checkpoint import load_checkpoint
    from radialog_model.generate import Answerer, Question, Sampling, predict_findings

    loaded = [read_image(path) for path in image]
    for path, one in zip(image, loaded, strict=True):
        for note in one.notes:
            print(f"radialog-model: {path}: {note}", file=sys.stderr)
        if is_lateral(one.notes):
            print(f"radialog-model: {path}: its report rests on this lateral view alone", file=sys.stderr)
    images = [one.image for one in loaded]
    checkpoint = load_checkpoint(weights, device=device)
    for notice in checkpoint.notices:
        print(f"radialog-model: {notice}", file=sys.stderr)
    text = default_prompts().render(CONSTANTS, "report") if prompt is None else prompt
    predicted = predict_findings(checkpoint, images) if findings == "predicted" else [None] * len(images)
    given = None if findings in ("predicted", "off") else findings
    # the layout of a report's prompt, as a dialog's first turn has it in chat and server
    questions = [
        Question((Turn("user", text),), "report_generation", picture, shown or given)
        for picture, shown in zip(images, predicted, strict=True)
    ]
    answerer = Answerer(checkpoint, batch_size=batch_size, compile=compile)
    failed = 0
    for path, result in zip(image, answerer.answer(questions, Sampling(max_new_tokens)), strict=True):
        if result.error is not None:
            failed += 1
            print(f"radialog-model: {path}: {result.error}", file=sys.stderr)
            continue
        print(f"{path}: {result.text}" if len(image) > 1 else result.text)
    if failed:
        raise typer.Exit(int(ExitCode.FAILED_SAMPLES))
