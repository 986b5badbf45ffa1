"""Fine-tune a text model on the dialogs of a built dataset with TRL's SFTTrainer: the baseline that sees no image.

python examples/sft_trl.py MODEL DATASET OUTPUT [--steps N] [--cpu]

TRL reads the column `messages` as it is. Needs `pip install trl`.
"""

from __future__ import annotations

import argparse

from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("dataset")
parser.add_argument("output")
parser.add_argument("--steps", type=int, default=-1)
parser.add_argument("--cpu", action="store_true")
given = parser.parse_args()

rows = load_dataset("parquet", data_files={"train": f"{given.dataset}/*/train-*.parquet"})["train"]
print(f"{rows.num_rows} rows of the tasks {', '.join(sorted(rows.unique('task')))}")
settings = SFTConfig(
    output_dir=given.output,
    max_steps=given.steps,
    per_device_train_batch_size=2,
    use_cpu=given.cpu,
    bf16=not given.cpu,
    report_to="none",
)
trainer = SFTTrainer(model=given.model, train_dataset=rows.select_columns(["messages"]).shuffle(seed=0), args=settings)
print(trainer.train().metrics)
