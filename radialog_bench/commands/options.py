"""The flags that several commands take, and those of ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="What `ls models` lists: a name, hf:REPO, openai:MODEL, file.py:Class, ..."),
]
ModelArgs = Annotated[
    list[str] | None, typer.Option(help="Arguments of the adapter as key=value; may be given several times.")
]

Data = Annotated[
    str | None,
    typer.Option(help="demo (the default), mimic-cxr, iu-xray, rad-restruct, or parquet: a built dataset."),
]
Root = Annotated[Path | None, typer.Option(help="Folder of the data.")]
Reports = Annotated[Path | None, typer.Option(help="MIMIC-CXR's reports, a zip file or a folder.")]
RadRestruct = Annotated[Path | None, typer.Option(help="Rad-ReStruct's folder, with iu-xray.")]
ImageRoot = Annotated[Path | None, typer.Option(help="Images of --data parquet.")]
Split = Annotated[str, typer.Option(help="train, validation, test or all.")]
Evaluations = Annotated[str | None, typer.Option("--evaluations", "-e", help="Comma list; all by default.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first samples of each evaluation.")]
LimitToImages = Annotated[
    bool, typer.Option("--limit-to-images", help="Leave out samples whose image is missing or unreadable.")
]
SampleIds = Annotated[str | None, typer.Option(help="Only these samples: a comma list, or a file with an id a line.")]
Shard = Annotated[str | None, typer.Option(help="Only part i of n of the patients, as i/n; see merge.")]

Labeler = Annotated[
    str | None, typer.Option(help="rules or chexbert; rules for the demo, chexbert for other data by default.")
]
Chexbert = Annotated[
    Path | None, typer.Option(help="CheXbert's chexbert.pth; by default from the Hub (StanfordAIMI/RRG_scorers).")
]
Vocabulary = Annotated[Path | None, typer.Option(help="bert-base-uncased's vocab.txt for CheXbert.")]
Protocols = Annotated[
    str | None, typer.Option(help="Protocols of BLEU and ROUGE: radialog (the default), radeval, rexrank.")
]
TextMetrics = Annotated[
    str | None,
    typer.Option(help="Comma list of meteor, bertscore, radeval:NAME, or none; all but the demo: meteor,bertscore."),
]
BertscoreModel = Annotated[str | None, typer.Option(help="BERTScore's encoder; distilroberta-base by default.")]
BertscoreLayer = Annotated[int | None, typer.Option(min=0, help="Its layer, where bert-score has no choice for it.")]
BertscoreBaseline = Annotated[str | None, typer.Option(help="A baseline file of bert-score's form, or none.")]
BertscorePrefixSpace = Annotated[
    bool | None,
    typer.Option(help="Put a blank before each text, as bert-score did with RoBERTa before transformers 5."),
]
ViewParser = Annotated[str, typer.Option(help="whole-word, or released for the released code's rule.")]
FindingsParser = Annotated[
    str, typer.Option(help="lower-cased, or released-v2 for the rule of the released code of v2.")
]
OnError = Annotated[str, typer.Option(help="A failed sample: zero (worst answer), skip or fail.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples of the 95 % intervals.")]
Seed = Annotated[int, typer.Option(help="Seed of the bootstrap.")]

Indication = Annotated[bool, typer.Option("--indication", help="Give the report prompt the clinical indication.")]
ShowImage = Annotated[bool, typer.Option("--image/--no-image", help="Show the model the image.")]
Tokens = Annotated[str, typer.Option(help="New tokens by turn as in the release v2 (300) or v1.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Requests handed to the model at once.")]
Window = Annotated[int, typer.Option(min=1, help="Dialogs in flight.")]
Replicas = Annotated[int, typer.Option(min=1, help="Copies of the model in Ray actors (extra: ray).")]
GpusPerReplica = Annotated[
    float | None, typer.Option(min=0, help="GPUs of a copy; one by default where the cluster has any.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="Seconds the model may be silent: a program, a server's request or a copy is then "
        "given up and replaced; a model in this process ends the run, which can be resumed.",
    ),
]

IncludeText = Annotated[
    bool, typer.Option("--include-text", help="Show texts of credentialed sources on the report page.")
]
OutputDir = Annotated[
    Path | None, typer.Option("--output-dir", "-o", help="Run folder; an unfinished run there is resumed.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print results.json instead of a table.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Load and check everything, count what would be asked, and stop.")
]
