"""``radialog-model``: train the reference model and let it answer."""

from __future__ import annotations

import sys

import typer

from radialog_instruct.terminal import run_app
from radialog_model.commands.align import align
from radialog_model.commands.chat import chat
from radialog_model.commands.convert import convert
from radialog_model.commands.export import export
from radialog_model.commands.findings import app as findings
from radialog_model.commands.generate import generate
from radialog_model.commands.serve import serve
from radialog_model.commands.train import configs, train

app = typer.Typer(
    help="Train the RaDialog reference model and let it answer.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _main() -> None:
    """Train the RaDialog reference model and let it answer."""


app.command()(train)
app.command()(configs)
app.command()(align)
app.command()(generate)
app.add_typer(findings, name="findings")
app.command()(convert)
app.command()(export)
app.command()(chat)
app.command()(serve)


def main() -> None:
    """Entry point of the console script."""
    import os

    # transformers warns about things a user of this command cannot change; its errors still come through.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.exit(run_app(app, "radialog-model"))


if __name__ == "__main__":
    main()
