"""The histograms of lengths as a picture."""

from __future__ import annotations

import io

from rewardsmith.data.checks.inspection import Inspection


def draw_lengths(found: Inspection) -> bytes:
    """Draw the lengths of prompts and completions side by side. Returns PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    charts = {"prompts": found.prompt_lengths, "completions": found.completion_lengths}
    for place, (name, lengths) in enumerate(charts.items(), 1):
        axes = figure.add_subplot(1, 2, place)
        if lengths.n:
            widths = [high - low for low, high in zip(lengths.edges, lengths.edges[1:], strict=False)]
            axes.bar(lengths.edges[:-1], lengths.counts, widths, align="edge", color="#0b5fa5", edgecolor="white")
        longest = lengths.quantiles.get("max", 0)
        beyond = f"; the last bin reaches to {longest:,}" if lengths.edges and longest >= lengths.edges[-1] else ""
        axes.set_title(f"{lengths.n:,} {name}", fontsize=11)
        axes.set_xlabel(f"{found.unit}{beyond}", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
