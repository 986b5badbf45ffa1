"""A tiny model, trained for one short epoch once for all tests of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.build.engine import build_dataset
from radialog_instruct.config import BuildConfig, BuildPlaces
from radialog_instruct.mixtures import load_mixture


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "dataset"
    full = load_mixture("full")
    tasks = {name: full.tasks[name] for name in ("report_generation", "view_classification")}
    config = BuildConfig(source="demo", shards=1, mixture=full.model_copy(update={"tasks": tasks}))
    build_dataset(config, BuildPlaces(out=out))
    return out


@pytest.fixture(scope="session")
def weights(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from radialog_model.config import load_config
    from radialog_model.training.run import train

    out = tmp_path_factory.mktemp("model") / "weights"
    train(load_config("tiny"), dataset, out, None, lambda line: None)
    return out
