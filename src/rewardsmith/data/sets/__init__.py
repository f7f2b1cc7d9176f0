"""The published data sets: every file of this folder that ends with ENTRY, or with ENTRIES where it holds several."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from rewardsmith.data.formats import FORMATS
from rewardsmith.data.sets.entry import Entry, Read, Rows
from rewardsmith.errors import ConfigError, nearest


def _collect() -> dict[str, Entry]:
    """Gather the entries of all files by name."""
    entries: dict[str, Entry] = {}
    for found in iter_modules(__path__):
        module = import_module(f"{__name__}.{found.name}")
        entry = getattr(module, "ENTRY", None)
        for one in getattr(module, "ENTRIES", () if entry is None else (entry,)):
            assert one.name not in entries, f"two entries are named {one.name}"
            entries[one.name] = one
    return dict(sorted(entries.items()))


CATALOGUE = _collect()


def find(name: str) -> tuple[Entry, Callable[[Rows], Read]]:
    """Return the entry and the function that "name" or "name:variant" asks for. Raises ConfigError with the nearest."""
    title, _, variant = name.partition(":")
    if title not in CATALOGUE:
        near = nearest(title, [*CATALOGUE, *FORMATS])
        hint = f"did you mean {near!r}?" if near else f"row formats are {', '.join(FORMATS)}"
        raise ConfigError(f"no reader {title!r}; {hint} (rewardsmith data list names the data sets)")
    entry = CATALOGUE[title]
    if not variant:
        return entry, entry.read
    if variant not in entry.variants:
        known = ", ".join(f"{title}:{name}" for name in entry.variants) or "none"
        raise ConfigError(f"reader {title!r} has no variant {variant!r}; its variants: {known}")
    return entry, entry.variants[variant]
