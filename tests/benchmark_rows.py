"""Rows in the layouts of RewardBench; the reward of an answer stands in its text."""


def by_number(prompt, completions):
    """The reward stands in the text: "good 3" scores 3."""
    return [float(str(completion).split()[-1]) for completion in completions]


def rb(subset, chosen, rejected, **extra):
    return {
        "id": 1,
        "prompt": f"{subset} {chosen} {rejected}",
        "chosen": f"a {chosen}",
        "rejected": f"b {rejected}",
        "subset": subset,
        **extra,
    }


def rb2(subset, name, chosen, rejected):
    texts = {
        "chosen": [f"a{i} {s}" for i, s in enumerate(chosen)],
        "rejected": [f"b{i} {s}" for i, s in enumerate(rejected)],
    }
    return {"id": name, "prompt": name, "subset": subset, "num_correct": len(chosen), **texts}
