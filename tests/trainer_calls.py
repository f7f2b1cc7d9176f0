"""What trainers ask their reward functions, as prompts and answers in text and in messages."""

import importlib.util

PROMPTS = ["is maybe", "good", "is maybe", "good"]
ANSWERS = [" fine", " awful", " nice", " fine"]


def user(text):
    return [{"role": "user", "content": text}]


def assistant(text):
    return [{"role": "assistant", "content": text}]


def load_as_a_file(module):
    """Load a module by its path, as OpenRLHF and verl do."""
    spec = importlib.util.spec_from_file_location("custom", module.__file__)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
