"""OpenAssistant conversations, OASST1 and OASST2 (Koepf et al. 2023, arXiv 2304.07327): trees of ranked messages.

At each message of a prompter the replies of assistants make a group: the path from the root is the prompt, ranks (0 is
best) give the comparisons, the labels of the reviewers the ratings. Two layouts: one message a row, the messages of a
tree together, as on the hub; or one tree a row (`*.trees.jsonl.gz`). Memory holds one tree and the ids of those read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.data.formats.cells import check_flag, check_list, check_mapping, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows
from rewardsmith.data.sets.published import choice, compare, consecutive, known_number, name_of
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Message, PreferenceGroup

ROLES = {"prompter": "user", "assistant": "assistant"}


@dataclass
class _Node:
    """One message of a tree, with the path that leads to it once the tree is whole."""

    where: str
    row: Row
    id: str
    parent: str | None
    role: str
    text: str
    rank: float | None
    labels: dict[str, float | None]
    path: tuple[Message, ...] = ()
    replies: list[_Node] = field(default_factory=list)


def unfold(rows: Rows) -> Rows:
    """Yield the messages of nested trees one by one, parents first; messages pass."""
    for where, row in rows:
        if not isinstance(row.get("prompt"), Mapping):
            yield where, row
            continue
        tree = {"message_tree_id": row.get("message_tree_id"), "tree_state": row.get("tree_state")}
        waiting: list[tuple[Any, Any, str]] = [(row["prompt"], None, "prompt")]
        while waiting:
            item, parent, place = waiting.pop(0)
            message = item if isinstance(item, Mapping) else {}
            yield f"{where} {place}", {**message, **tree, "parent_id": parent}
            replies = message.get("replies")
            for index, reply in enumerate(replies if isinstance(replies, list) else []):
                waiting.append((reply, message.get("message_id"), f"{place}.replies[{index}]"))


def read(rows: Rows) -> Read:
    """Yield one group a prompter's message that has two replies or more, or a rated one.

    Left out, each with its reason: messages that are deleted, that failed review, that are empty, whose parent is
    missing or left out, whose role does not follow its parent's; messages of a tree that was already read; and those
    that stand in no group, such as a prompter's last message without a reply.
    """
    seen: set[str] = set()
    for found in consecutive(unfold(rows), _tree_and_node):
        if isinstance(found, RowError):
            yield found
            continue
        tree, places, nodes = found
        if tree in seen:
            message = f"tree {tree!r} was read before; put the rows of a tree together"
            yield from (row_error(where, "tree out of order", message) for where in places)
        else:
            seen.add(tree)
            yield from _groups(nodes)


def _tree_and_node(row: Row, where: str) -> tuple[str, _Node]:
    node = _node(row, where)
    return str(row.get("message_tree_id") or node.id), node


def _node(row: Row, where: str) -> _Node:
    """Check one message."""
    name = str(require(row, "message_id", where))
    if row.get("deleted") is not None and check_flag(row["deleted"], where, "deleted"):
        raise row_error(where, "deleted", f"message {name} is marked as deleted; it is left out")
    if row.get("review_result") is not None and not check_flag(row["review_result"], where, "review_result"):
        raise row_error(where, "failed review", f"message {name} did not pass the review; it is left out")
    role = choice(require(row, "role", where), where, "role", tuple(ROLES))
    text = check_text(require(row, "text", where), where, "text")
    rank = known_number(row.get("rank"), where, "rank")
    return _Node(where, row, name, name_of(row.get("parent_id")), ROLES[role], text, rank, _labels(row, where))


def _groups(nodes: list[_Node]) -> Read:
    """Link the messages of one tree and give a group for every prompter's message with replies to compare or rated."""
    linked, errors = _linked(nodes)
    yield from errors
    used: set[str] = set()
    for node in linked.values():
        if node.role != "user" or not node.replies:
            continue
        group = _group(node)
        if len(group) > 1 or group.ratings:
            used.update(member.id for member in (*_ancestors(node, linked), *node.replies))
            yield group
    for node in linked.values():
        if node.id not in used:
            yield row_error(node.where, "nothing to compare", f"message {node.id} stands in no group; it is left out")


def _linked(nodes: list[_Node]) -> tuple[dict[str, _Node], list[RowError]]:
    """Return the messages that hang together from the root on, and an error for each of the others."""
    known = {node.id for node in nodes}
    linked: dict[str, _Node] = {}
    errors: list[RowError] = []
    waiting = list(nodes)
    while waiting:
        ready = [node for node in waiting if node.parent is None or node.parent in linked]
        if not ready:
            break
        waiting = [node for node in waiting if node.parent is not None and node.parent not in linked]
        for node in ready:
            if node.id in linked:
                errors.append(row_error(node.where, "repeated message", f"message {node.id} stands here again"))
                continue
            problem = _link(node, linked.get(node.parent or ""))
            if problem is None:
                linked[node.id] = node
            else:
                errors.append(problem)
    for node in waiting:
        lost = "in a circle" if node.parent in known else "missing or left out"
        message = f"the parent {node.parent} of message {node.id} is {lost}"
        errors.append(row_error(node.where, "no parent", message))
    return linked, errors


def _ancestors(node: _Node, linked: Mapping[str, _Node]) -> Iterator[_Node]:
    """Yield a message and all before it."""
    while node is not None:
        yield node
        if node.parent is None:
            return
        node = linked[node.parent]


def _link(node: _Node, parent: _Node | None) -> RowError | None:
    """Hang a message below its parent; roles must alternate and the prompter begins."""
    due = "user" if parent is None or parent.role == "assistant" else "assistant"
    if node.role != due:
        message = (
            f"message {node.id} is by the {node.role} where the {due} is due; prompter and assistant must alternate"
        )
        return row_error(node.where, "turns do not alternate", message)
    node.path = (*(parent.path if parent else ()), Message(node.role, node.text))
    if parent is not None:
        parent.replies.append(node)
    return None


def _group(node: _Node) -> PreferenceGroup:
    replies = node.replies
    ranks = [reply.rank for reply in replies]
    labels = [reply.labels for reply in replies]
    names = dict.fromkeys(name for one in labels for name in one)
    return PreferenceGroup(
        prompt=node.path,
        completions=tuple((Message("assistant", reply.text),) for reply in replies),
        comparisons=compare(ranks, lower_is_better=True),
        ratings={name: tuple(one.get(name) for one in labels) for name in names},
        models=tuple(name_of(reply.row.get("model_name")) for reply in replies),
        source="oasst",
        group_id=node.id,
        metadata={
            "lang": node.row.get("lang"),
            "message_tree_id": node.row.get("message_tree_id"),
            "replies": [reply.id for reply in replies],
            "ranks": ranks,
        },
    )


def _labels(row: Row, where: str) -> dict[str, float | None]:
    """Read the mean labels of the reviewers: lists of names and values, or one object a label."""
    labels = row.get("labels")
    if labels is None:
        return {}
    labels = check_mapping(labels, where, "labels")
    if isinstance(labels.get("name"), list):
        names, values = labels["name"], check_list(labels.get("value"), where, "labels.value")
        if len(names) != len(values):
            message = f"labels hold {len(names)} names and {len(values)} values; re-export the row"
            raise row_error(where, "wrong length", message)
        pairs = dict(zip(map(str, names), values, strict=True))
    else:
        pairs = {name: label.get("value") if isinstance(label, Mapping) else label for name, label in labels.items()}
    return {name: _value(value, where, name) for name, value in pairs.items()}


def _value(value: object, where: str, name: str) -> float | None:
    if isinstance(value, bool):
        raise row_error(where, "wrong type", f"label {name!r} must be a number, not {describe(value)}")
    return known_number(value, where, f"labels.{name}")


SUMMARY = "trees of messages by volunteers, replies ranked, with attribute labels"
# The repository holds the same messages again as *.trees.jsonl.gz and, with spam, in other files.
FILES = ("train-*", "validation-*")
ENTRIES = (
    Entry(
        name="oasst1",
        summary=f"OpenAssistant 1: {SUMMARY}",
        licence="Apache-2.0",
        paper="2304.07327",
        hub_id="OpenAssistant/oasst1",
        read=read,
        files=FILES,
        unfold=unfold,
    ),
    Entry(
        name="oasst2",
        summary=f"OpenAssistant 2: {SUMMARY}",
        licence="Apache-2.0",
        paper="2304.07327",
        hub_id="OpenAssistant/oasst2",
        read=read,
        columns=frozenset({"message_id", "parent_id", "message_tree_id", "role", "text"}),
        files=FILES,
        unfold=unfold,
    ),
)
