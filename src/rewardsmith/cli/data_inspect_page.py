"""The page of `inspect`: one file, no request to anywhere, every text escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping

from rewardsmith.cli.data_inspect_sections import Chart, Grid, Line, Section, bins
from rewardsmith.cli.data_options import visible
from rewardsmith.data.texts import plain_text, question_text
from rewardsmith.records import PreferenceGroup

LONGEST = 600
# No script, no request: what a text may hold cannot run even if it were not escaped.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f6f7f9; --ink: #16191d; --soft: #525a64; --rule: #d4d9df;
  --bar: #0b5fa5; --good: #00614e; --warn: #7a5200; --bad: #a3260c; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --card: #1d2127; --ink: #e9ecef; --soft: #aab2bc;
  --rule: #3a414a; --bar: #6db5f2; --good: #58cfae; --warn: #e9bb5c; --bad: #ff937a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem clamp(1rem, 4vw, 3rem) 3rem; max-width: 70rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; padding-bottom: .25rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; }
p { margin: .3rem 0; color: var(--soft); }
dl { display: grid; grid-template-columns: 13rem 8rem 1fr; gap: 0 1rem; margin: 0; }
dl > div { display: contents; }
dt, dd { margin: 0; padding: .3rem 0; border-bottom: 1px dotted var(--rule); }
dd.value { text-align: end; font-weight: 600; font-variant-numeric: tabular-nums; }
dd.note { color: var(--soft); font-size: .875rem; padding-top: .4rem; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; margin-top: .8rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: end; white-space: nowrap; }
th:first-child, td:first-child { text-align: start; white-space: normal; min-width: 8rem; }
thead th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--rule); }
.hist { width: 100%; } .hist td { padding: .1rem .6rem .1rem 0; } .hist td:nth-child(2) { width: 100%; }
.hist td:first-child { text-align: end; width: 8.5rem; min-width: 0; white-space: nowrap; }
.hist i { display: block; height: .8rem; border-radius: 2px; background: var(--bar); print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
article { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .7rem 1rem;
  margin: .7rem 0; }
article h3 { margin: 0 0 .3rem; }
blockquote { margin: .35rem 0; padding-left: .7rem; border-left: 3px solid var(--rule); white-space: pre-wrap;
  font-size: .9rem; }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr auto; } dt, dd.value { border-bottom: 0; padding-bottom: 0; }
  dd.note { grid-column: 1 / -1; padding: 0 0 .35rem; min-height: .35rem; }
}
@media print { body { max-width: none; padding: 0; font-size: 11pt; } article, .charts > div { break-inside: avoid; } }
"""


def make_page(title: str, sections: list[Section], examples: Mapping[str, PreferenceGroup]) -> str:
    """Give the page as HTML.

    Args:
        title: what was inspected.
        examples: where a row stands, to the row, quoted at the end.
    """
    body = "".join(map(_section, sections))
    if examples:
        quoted = "".join(_example(where, group) for where, group in examples.items())
        body += f"<section><h2>Rows named above</h2>{quoted}</section>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)} - preference data</title><style>{STYLE}</style></head>"
        f'<body><main><h1>Preference data: <bdi dir="auto">{escape(title)}</bdi></h1>'
        f"<p>Written by rewardsmith data inspect.</p>{body}</main></body></html>\n"
    )


def escape(text: str) -> str:
    """Give a text as HTML that shows every character of it."""
    return html.escape(visible(text))


def _section(section: Section) -> str:
    lines = "".join(map(_line, section.lines))
    charts = f'<div class="charts">{"".join(map(_chart, section.charts))}</div>' if section.charts else ""
    grids = "".join(map(_grid, section.grids))
    return f"<section><h2>{escape(section.title)}</h2><dl>{lines}</dl>{grids}{charts}</section>"


def _line(line: Line) -> str:
    return (
        f'<div><dt>{escape(line.label)}</dt><dd class="value {line.level}">{escape(line.value)}</dd>'
        f'<dd class="note">{escape(line.note)}</dd></div>'
    )


def _grid(grid: Grid) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in grid.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in grid.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _chart(chart: Chart) -> str:
    highest = max(chart.distribution.counts)
    rows = "".join(
        f'<tr><td>{escape(label)}</td><td><i style="width:{100 * count / highest:.1f}%"></i></td>'
        f"<td>{count:,}</td></tr>"
        for label, count in bins(chart.distribution)
    )
    return f'<div><h3>{escape(chart.title)}</h3><table class="hist"><tbody>{rows}</tbody></table></div>'


def _example(where: str, group: PreferenceGroup) -> str:
    quotes = [f"<p>prompt</p>{_quote(question_text(group))}"] if group.prompt else []
    for place, completion in enumerate(group.completions):
        wins = sum(c.better == place != c.worse and not c.is_tie for c in group.comparisons)
        losses = sum(c.worse == place != c.better and not c.is_tie for c in group.comparisons)
        verdict = "preferred" if wins and not losses else "not preferred" if losses and not wins else "undecided"
        quotes.append(f"<p>completion {place + 1}, {verdict}</p>{_quote(plain_text(completion))}")
    return f"<article><h3>{escape(where)}</h3>{''.join(quotes)}</article>"


def _quote(text: str) -> str:
    """Quote a text, long ones from both ends."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"
    return f'<blockquote dir="auto">{escape(text)}</blockquote>'
