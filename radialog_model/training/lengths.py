"""Lengths of all rows in all epochs, which the plan of a run needs before its first step."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from radialog_instruct.context import DROPPING_TASKS
from radialog_model.data.batches import measure
from radialog_model.data.encode import DialogEncoder
from radialog_model.data.plan import Lengths
from radialog_model.data.rows import Rows

_BLOCK = 256


class RowLengths:
    """Tokens of each row in an epoch, kept on disk so that a resumed run does not count again.

    Args:
        rows: The rows.
        encoder: Makes token ids of a row.
        folder: Where the lengths are kept.
        seed: Seed of context dropping.
        workers: Processes that count.
        dataset: Fingerprint of the dataset's manifest.
    """

    def __init__(
        self, rows: Rows, encoder: DialogEncoder, folder: Path, *, seed: int, workers: int, dataset: str
    ) -> None:
        self._rows, self._encoder, self._folder = rows, encoder, folder
        self._seed, self._workers = seed, workers
        tokenizer = encoder.processor.tokenizer
        known = (
            dataset,
            rows.ids_key(),
            encoder.n_image_tokens,
            encoder.variant,
            encoder.image,
            encoder.findings,
            seed,
        )
        vocabulary = tokenizer.backend_tokenizer.to_str()
        self._key = sha256(f"{known}|{rows.findings_key()}|{vocabulary}".encode()).hexdigest()[:16]
        tasks = np.array(rows.tasks())
        self._changing = np.flatnonzero(np.isin(tasks, sorted(DROPPING_TASKS)))

    def __call__(self, epoch: int) -> Lengths:
        """Return the lengths in an epoch; only rows whose context is dropped differ from the first."""
        path = self._folder / f"lengths-{self._key}-{epoch}.npy"
        if path.is_file():
            held: Lengths = np.load(path)
            return held
        if epoch == 0:
            sizes = self._count(np.arange(len(self._rows)), 0)
        else:
            sizes = self(0).copy()
            sizes[self._changing] = self._count(self._changing, epoch)
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, sizes)
        temporary.replace(path)
        return sizes

    def _count(self, which: Lengths, epoch: int) -> Lengths:
        def count(indices: list[Lengths]) -> list[int]:
            (block,) = indices
            return measure(self._encoder, [self._rows[i] for i in block.tolist()], epoch=epoch, seed=self._seed)

        blocks = [which[start : start + _BLOCK] for start in range(0, len(which), _BLOCK)]
        if self._workers == 0:
            counted = [count([block]) for block in blocks]
        else:
            collate: Callable[[list[Lengths]], list[int]] = count
            context = "fork" if "fork" in torch.multiprocessing.get_all_start_methods() else None
            loader: torch.utils.data.DataLoader[list[int]] = torch.utils.data.DataLoader(
                blocks,  # type: ignore[arg-type]
                batch_size=1,
                collate_fn=collate,
                num_workers=self._workers,
                multiprocessing_context=context,
            )
            counted = list(loader)
        return np.array([size for block in counted for size in block], dtype=np.int64)
