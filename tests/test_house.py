"""The house in numbers: sizes, circles, what one more file of a kind touches, and tests that mirror the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
SOURCE = TESTS.parent / "src" / "rewardsmith"
FILES = sorted(SOURCE.rglob("*.py"))
TEXTS = {path: path.read_text() for path in FILES}
LONGEST_FILE, LONGEST_FUNCTION, MOST_ARGUMENTS = 400, 60, 5
# The command line parses, wires and prints. The later commands came after the limit was set.
CLI_LINES = 2300
LATER_COMMANDS = (
    "collect",
    "completion",
    "rl",
    "runs",
    "verify",
    "launch",
    "plan",
    "laplace",
    "average",
    "reward",
    "env",
)
MOST_ANY = 157
MOST_WITHOUT_TESTS = 4
# Folders of which a file is one of a kind, but for these, which all of the kind share.
KINDS = {
    "data/sets": {"entry", "published"},
    "data/formats": {"cells", "format", "pairs", "rankings", "rewardsmith", "trainers"},
    "objectives": {"comparisons"},
    "models/foreign": {"folder", "imported", "loading"},
    "serving/protocols": {"inputs"},
    "cli": {"options", "main", "collect_project"},
}
# A new one of a kind touches its own file and at most two others.
MOST_FILES = 3


def name_of(path: Path) -> str:
    """Return the dotted name below the package, "" for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file when a test asks for it: whatever runs other tests collects this file too."""
    return ast.parse(TEXTS[path])


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the modules of the package that a file imports, also inside functions, but for types only."""
    tree = tree_of(path)
    for_types = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    modules = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("rewardsmith")
            and id(node) not in for_types
        ):
            home = node.module.removeprefix("rewardsmith").lstrip(".")
            inner = {f"{home}.{alias.name}".lstrip(".") for alias in node.names}
            modules |= {name if name in MODULES else home for name in inner}
    return frozenset(modules)


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_no_file_is_longer_than_a_reader_can_hold():
    sizes = {str(path.relative_to(SOURCE)): text.count("\n") for path, text in TEXTS.items()}
    assert {name: size for name, size in sizes.items() if size > LONGEST_FILE} == {}


def test_no_function_is_longer_than_a_screen():
    long = {
        f"{path.relative_to(SOURCE)}:{node.name}": node.end_lineno - node.lineno + 1
        for path, node in functions()
        if node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    }
    assert long == {}


def test_the_command_line_only_parses_wires_and_prints():
    own = [p for p in (SOURCE / "cli").glob("*.py") if not p.name.startswith(LATER_COMMANDS)]
    assert sum(TEXTS[path].count("\n") for path in own) < CLI_LINES


def test_any_is_the_exception():
    assert sum(len(re.findall(r": Any\b", text)) for text in TEXTS.values()) <= MOST_ANY


def test_no_module_imports_itself_by_a_detour():
    edges = {name: imported(path) - {name} for name, path in MODULES.items() if name}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name in done:
            return
        for other in sorted(edges.get(name, ())):
            visit(other, (*way, name))
        done.add(name)

    for name in sorted(edges):
        visit(name, ())


@pytest.mark.parametrize("room", KINDS)
def test_one_more_of_a_kind_touches_few_files(room):
    prefix = room.replace("/", ".")
    kinds = [n for n in MODULES if n.startswith(f"{prefix}.") and n.removeprefix(f"{prefix}.") not in KINDS[room]]
    touched = {kind: 1 + sum(kind in imported(p) for n, p in MODULES.items() if n != kind) for kind in kinds}
    assert {kind: n for kind, n in touched.items() if n > MOST_FILES} == {}


def test_one_more_part_of_an_audit_touches_its_file_and_the_list():
    from rewardsmith.audit.parts import PARTS

    homes = {part.__class__.__module__ for part in PARTS}
    assert homes == {"rewardsmith.audit.plan"}
    listed = set(imported(SOURCE / "audit" / "parts.py"))
    assert len([name for name in listed if name.startswith("audit.") and name != "audit.plan"]) == len(PARTS)


def test_modules_without_a_test_file_of_their_name_only_become_fewer():
    """A module with a public function or class wants a test file of its name in the same place."""
    without = []
    for path in FILES:
        public = [n for n in tree_of(path).body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)]
        if path.name.startswith("__") or not any(not n.name.startswith("_") for n in public):
            continue
        place = path.relative_to(SOURCE)
        if not (TESTS / place.parent / f"test_{place.name}").exists():
            without.append(str(place))
    assert len(without) <= MOST_WITHOUT_TESTS, without
