"""The report's plots, drawn by matplotlib as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from radialog_instruct.check.statistics import MAX_WORDS, Statistics
from radialog_instruct.findings import FINDINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT = "#0b5a7a", "#8fb8ca"
_LABEL_COLOURS = {1: "#0b5a7a", -1: "#d99b00", 0: "#8fb8ca", None: "#e6ebf0"}
_LABEL_NAMES = {1: "positive", -1: "uncertain", 0: "negative", None: "blank"}
_SPLIT_COLOURS = {"train": "#0b5a7a", "validation": "#d99b00", "test": "#9c1c1c"}


def rows_plot(rows: Mapping[str, Mapping[str, int]]) -> str:
    """Draw the rows of each task, stacked by split.

    Args:
        rows: Task -> split -> rows.
    """
    figure, axes = _figure(len(rows))
    names = list(rows)
    left = [0] * len(names)
    for split, colour in _SPLIT_COLOURS.items():
        widths = [rows[name].get(split, 0) for name in names]
        axes.barh(names, widths, left=left, color=colour, label=split)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.legend(frameon=False)
    return _svg(figure, "Rows of each task by split")


def words_plot(task: str, counts: Mapping[int, int]) -> str:
    """Draw a histogram of the words in a task's answers."""
    figure, axes = _figure(3)
    axes.bar(list(counts), list(counts.values()), width=1.0, color=_INK)
    axes.set_xlabel(f"words in the answer ({MAX_WORDS} and more in the last bar)")
    axes.set_ylabel("rows")
    axes.set_title(task, loc="left")
    return _svg(figure, f"Words in the answers of {task}")


def templates_plot(templates: Mapping[str, Mapping[str, int]]) -> str:
    """Draw how often each template variant was used, as a share within its task."""
    tasks = list(templates)
    variants = sorted({variant for counts in templates.values() for variant in counts})
    figure, axes = _figure(len(tasks))
    shares = [[templates[t].get(v, 0) / max(sum(templates[t].values()), 1) for v in variants] for t in tasks]
    axes.imshow(shares, cmap="Blues", vmin=0, aspect="auto")
    axes.set_xticks(range(len(variants)), variants)
    axes.set_yticks(range(len(tasks)), tasks)
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            dark = share > 0.6 * max(map(max, shares))
            axes.text(x, y, f"{share:.0%}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    return _svg(figure, "Share of each template variant within its task")


def labels_plot(statistics: Statistics) -> str:
    """Draw the label values of each class over all rows."""
    names = [name for name in FINDINGS if name in statistics.labels]
    figure, axes = _figure(len(names))
    left = [0] * len(names)
    for value, colour in _LABEL_COLOURS.items():
        widths = [statistics.labels[name][value] for name in names]
        axes.barh(names, widths, left=left, color=colour, label=_LABEL_NAMES[value])
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return _svg(figure, "Label values of each class")


def answers_plot(task: str, counts: Mapping[str, int]) -> str:
    """Draw the answers of a task that has few of them."""
    figure, axes = _figure(len(counts))
    names = sorted(counts, key=lambda name: -counts[name])
    axes.barh(names, [counts[name] for name in names], color=_INK)
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    axes.set_title(task, loc="left")
    return _svg(figure, f"Answers of {task}")


def _figure(n_bars: int) -> tuple[Figure, Axes]:
    # Figure without pyplot: no backend, no display, no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 1.1 + 0.32 * max(n_bars, 2)), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    # A fixed salt and no date: equal data give an equal page. Text stays text, so that it can be searched and read out.
    with mpl.rc_context({"svg.hashsalt": "radialog", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
