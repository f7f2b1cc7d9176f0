"""Repositories in the layout of the hub's cache: what is read without a network."""

import hashlib
import shutil
from pathlib import Path

from huggingface_hub import constants


def use_cache(monkeypatch, folder):
    """Make a folder the only cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))


def cached(cache, repo, revisions):
    """Put folders into the cache as revisions of a repository; return their commits by name."""
    home = Path(cache) / f"models--{repo.replace('/', '--')}"
    commits = {name: hashlib.sha1(f"{repo} {name}".encode()).hexdigest() for name in revisions}
    for name, folder in revisions.items():
        shutil.copytree(folder, home / "snapshots" / commits[name])
        reference = home / "refs" / name
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commits[name])
    return commits
