"""Predicted findings kept in a file: JSON lines, appended batch by batch, safe to kill at any point.

The first line says which extractor and thresholds made the predictions; each further line is one image. Training with
predicted findings and the bench read the file through ``load_predictions``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.files import file_sha256, replacing, unwritable
from radialog_instruct.findings import FINDINGS, findings_text
from radialog_instruct.sources.images import load_image
from radialog_model.findings.predictor import FindingsPredictor

FORMAT = "radialog-findings/1"
DIGITS = 6
"""Decimals of a stored probability; decisions are made before rounding."""


@dataclass(frozen=True)
class Prediction:
    """The findings predicted for one image.

    Attributes:
        image: The image's path as it was given, relative to the image root.
        sha256: SHA-256 of the file.
        probabilities: 14 values in project order.
        findings: Names of the classes that count as present.
        text: The findings text of the prompt.
    """

    image: str
    sha256: str
    probabilities: tuple[float, ...]
    findings: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class PredictionFile:
    """What a file of predictions holds.

    Attributes:
        extractor: Fingerprint of the extractor.
        thresholds: Its thresholds by class name.
        rows: The predictions, in the order they were made.
    """

    extractor: str
    thresholds: dict[str, float]
    rows: tuple[Prediction, ...]


def predict_to_file(
    predictor: FindingsPredictor,
    images: Sequence[str],
    root: Path,
    output: Path,
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Predict the findings of images; what the file already holds of the same extractor is not asked again.

    Batches are cut from the whole list, so an interrupted run ends with the same bytes as an uninterrupted one.

    Args:
        predictor: The extractor.
        images: Paths relative to ``root``.
        root: Folder of the images.
        output: The file.
        batch_size: Images asked together.
        progress: Told how many images of how many are done.

    Returns:
        One prediction an image, in their order.

    Raises:
        DataError: If an image cannot be read, or the file is damaged before its last line.
        UsageError: If the file is of another extractor, or cannot be written.
    """
    known = {(p.image, p.sha256): p for p in _resume(output, predictor)}
    found: list[Prediction] = []
    with _appending(output) as handle:
        for start in range(0, len(images), batch_size):
            keys = [(path, file_sha256(_existing(root / path))) for path in images[start : start + batch_size]]
            if any(key not in known for key in keys):
                fresh = _predict(predictor, keys, root)
                new = [prediction for key, prediction in zip(keys, fresh, strict=True) if key not in known]
                _append(handle, output, dict.fromkeys(new))
                known |= {(p.image, p.sha256): p for p in new}
            found += [known[key] for key in keys]
            if progress is not None:
                progress(len(found), len(images))
    return found


def load_predictions(path: Path) -> dict[str, str]:
    """Read the findings text of each image.

    Args:
        path: A file that ``radialog-model findings predict`` wrote.

    Returns:
        Image path, and SHA-256 of the image file, to the findings text. Of two lines for one path the later counts.

    Raises:
        DataError: If it is no such file.
    """
    texts: dict[str, str] = {}
    for prediction in read_predictions(path).rows:
        texts[prediction.image] = texts[prediction.sha256] = prediction.text
    return texts


def read_predictions(path: Path) -> PredictionFile:
    """Read a file of predictions; a last line that was cut short is left out.

    Raises:
        DataError: If it is missing, no such file, or damaged before its last line.
    """
    mend = "write it with radialog-model findings predict"
    try:
        header, *lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read ({error})", where=str(path), mend=mend) from error
    described = _header(header, path)
    return PredictionFile(described["extractor"], described["thresholds"], tuple(_parsed(lines, path)))


def _header(line: str, path: Path) -> dict[str, Any]:
    mend = "write it with radialog-model findings predict"
    try:
        header: dict[str, Any] = json.loads(line)
        if header["format"] != FORMAT or tuple(header["classes"]) != FINDINGS:
            raise ValueError(f"format {header['format']}")
        header["extractor"], header["thresholds"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"no file of predicted findings ({error})", where=f"{path}:1", mend=mend) from error
    return header


def _parsed(lines: Sequence[str], path: Path) -> Iterator[Prediction]:
    for number, line in enumerate(lines[:-1], start=2):  # what follows the last newline was cut short
        try:
            row = json.loads(line)
            text = findings_text(row["findings"])
            if len(row["probabilities"]) != len(FINDINGS) or text != row["text"]:
                raise ValueError("probabilities, findings and text disagree")
            yield Prediction(
                row["image"], row["sha256"], tuple(row["probabilities"]), tuple(row["findings"]), row["text"]
            )
        except (ValueError, KeyError, TypeError) as error:
            mend = "remove the line; the image is then predicted again"
            raise DataError(f"not a prediction ({error})", where=f"{path}:{number}", mend=mend) from error


def _resume(output: Path, predictor: FindingsPredictor) -> list[Prediction]:
    """Return what the file holds, cut behind its last whole line; write its first line where there is none."""
    wanted = {
        "format": FORMAT,
        "extractor": predictor.fingerprint,
        "thresholds": {name: round(value, DIGITS) for name, value in predictor.thresholds.items()},
        "classes": list(FINDINGS),
    }
    if not output.is_file():
        with replacing(output) as temporary:
            temporary.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
        return []
    content = output.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    header, *lines = whole.decode("utf-8", errors="replace").split("\n")
    if _header(header, output) != wanted:
        mend = "give another --output, or remove the file"
        raise UsageError("predictions of another extractor or other thresholds", where=str(output), mend=mend)
    done = list(_parsed(lines, output))
    if len(whole) < len(content):
        try:
            os.truncate(output, len(whole))
        except OSError as error:
            raise unwritable(output, error) from error
    return done


def _predict(predictor: FindingsPredictor, keys: Sequence[tuple[str, str]], root: Path) -> list[Prediction]:
    probabilities = predictor.probabilities([load_image(root / path) for path, _ in keys])
    return [
        Prediction(path, digest, tuple(round(float(p), DIGITS) for p in row), names, findings_text(names))
        for (path, digest), row, names in zip(keys, probabilities, predictor.decide(probabilities), strict=True)
    ]


def _appending(output: Path) -> IO[str]:
    try:
        return output.open("a", encoding="utf-8")
    except OSError as error:
        raise unwritable(output, error) from error


def _append(handle: IO[str], output: Path, predictions: Iterable[Prediction]) -> None:
    try:
        handle.write("".join(json.dumps(asdict(p), ensure_ascii=False) + "\n" for p in predictions))
        handle.flush()
        os.fsync(handle.fileno())
    except OSError as error:
        raise unwritable(output, error) from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError("no such image", where=str(path), mend="check the path and --image-root")
    return path
