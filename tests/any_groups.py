"""Groups of any content, as the readers give them, for properties."""

from hypothesis import strategies as st

from rewardsmith.records import Comparison, Message, PreferenceGroup

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)


NUMBERS = st.floats(-1e6, 1e6)


@st.composite
def comparisons(draw, size, spanning=False):
    """Comparisons among `size` completions; `spanning` mentions them in order, so that merging keeps the order."""
    edges = [(i, i + 1) for i in range(size - 1)] if spanning else []
    extra = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=4))
    return tuple(
        Comparison(
            better,
            worse,
            draw(st.sampled_from(["better", "tie"])),
            draw(st.none() | NUMBERS),
            draw(st.floats(0, 10)),
            draw(st.none() | st.floats(0, 1)),
            draw(st.none() | TEXTS),
            draw(st.none() | st.just("2024-05-01")),
        )
        for better, worse in [*edges, *(e for e in extra if e[0] != e[1])]
    )


@st.composite
def groups(draw, conversational=None, spanning=True):
    """Groups as the readers give them: distinct completions, all text or all messages."""
    texts = draw(st.lists(TEXTS, min_size=2, max_size=4, unique=True))
    if conversational is None:
        conversational = draw(st.booleans())
    prompt = draw(TEXTS)
    sides = [(Message("assistant", t),) for t in texts] if conversational else texts
    source, name = draw(st.none() | TEXTS), draw(st.none() | TEXTS)
    return PreferenceGroup(
        (Message("user", prompt),) if conversational else prompt,
        tuple(sides),
        draw(comparisons(len(texts), spanning)),
        ratings=draw(st.just({}) | st.just({"help": tuple(float(i) for i in range(len(texts)))})),
        models=draw(st.just(()) | st.just(tuple(f"m{i}" for i in range(len(texts))))),
        source=source,
        group_id=name,
        tools=draw(st.none() | st.just(({"name": "f"},))),
        chat_template_kwargs=draw(st.none() | st.just({"thinking": True})),
        metadata=draw(st.just({}) | st.just({"lang": "de", "n": 3})),
    )
