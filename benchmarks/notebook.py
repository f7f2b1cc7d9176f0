"""Run examples/tutorial.ipynb from its first cell to its last and keep what it shows, for those who only read it.

    python benchmarks/notebook.py examples/tutorial.ipynb WORK

The cells run in the folder WORK, so that no path of this machine stands in an output, and without $HH and $ENCODER:
what is stored is of simulated judgements, since other people's texts may not be stored. A test runs the same function
on few rows of real data. Needs nbclient and ipykernel.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

# A bar that a terminal writes over, and one that stands at its end.
BAR = re.compile(r"[^\n]*\r|[^\n]*\d+%\|[^\n]*\n?")


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run every cell in `folder` and return the notebook with its outputs.

    Raises:
        CellExecutionError: a cell failed.
        SystemExit: an output names a path of this machine.
    """
    # tqdm asks for ipywidgets, whose bars no stored notebook can show.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
    NotebookClient(notebook, timeout=3600, record_timing=False, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = join_streams(cell.outputs)
            require_no_path(cell.outputs)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def join_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return the outputs with what was printed in one piece, without the bars of libraries, which say nothing later."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type != "stream":
            kept += [output] if output.output_type != "display_data" else []
            continue
        text = BAR.sub("", output.text)
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            continue
        if not (kept and kept[-1].output_type == "stream" and kept[-1].name == output.name):
            kept.append(nbformat.v4.new_output("stream", name=output.name))
        kept[-1].text += "".join(f"{line}\n" for line in lines)
    return kept


def require_no_path(outputs: list[NotebookNode]) -> None:
    """Raise SystemExit where an output names a place of this machine."""
    text = repr(outputs)
    for place in (str(Path.home()), str(Path(__file__).resolve().parents[1]), sys.prefix):
        if len(place) > 1 and f"{place}/" in text:
            at = text.index(f"{place}/")
            raise SystemExit(f"an output names a path of this machine: {text[max(0, at - 80) : at + 80]}")


def main() -> None:
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    if given := [name for name in ("HH", "ENCODER", "STEPS") if os.environ.get(name)]:
        raise SystemExit(f"{', '.join(given)}: unset them; what is stored is of simulated judgements")
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
    nbformat.write(execute(notebook, folder), path)


if __name__ == "__main__":
    main()
