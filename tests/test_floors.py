"""The table of floors in docs/architecture.md, enforced."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "rewardsmith"
FLOORS = {
    "_version": -1,
    "errors": -1,  # the ground that records, too, stand on
    "findings": 0,
    "records": 0,
    "blocks": 1,
    "capabilities": 1,
    "stats": 1,
    "files": 1,
    "objectives": 1,
    "data": 2,
    "models": 3,
    "modeling": 4,
    "doctor": 4,
    "scoring": 5,
    "training": 6,
    "evaluation": 5,
    "collecting": 5,
    "audit": 7,
    "clients": 6,
    "serving": 7,
    "report": 8,
    "rl": 7,
    "cli": 9,
}
WEB = {"fastapi", "starlette", "uvicorn", "httpx", "prometheus_client"}
HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "ray", "trl", "pandas", "sklearn"} | WEB
ALLOWED_HEAVY = {
    "files": {"datasets"},
    "objectives": {"torch"},
    "data": {"datasets", "pandas"},
    "models": {"torch", "transformers", "peft", "accelerate"},
    "doctor": {"torch", "transformers", "peft"},
    "scoring": {"torch", "transformers", "ray", "datasets"},
    "training": {"torch", "transformers", "peft", "accelerate", "datasets"},
    "evaluation": {"datasets"},
    "audit": {"torch"},
    "clients": WEB,
    "serving": WEB,
    "collecting": WEB | {"sqlalchemy"},
    "rl": {"trl", "torch", "transformers", "datasets", "peft"},
    "cli": HEAVY,
}
FILES = sorted(SOURCE.rglob("*.py"))


def imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import | ast.ImportFrom)]


def names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""]


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_from_floors_below_its_own(path):
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for node in imports(path):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno} is a relative import"
        for name in names(node):
            parts = name.split(".")
            if parts[0] == "rewardsmith" and len(parts) > 1 and parts[1] != here:
                assert FLOORS[parts[1]] < FLOORS[here], f"{path}:{node.lineno} imports {name} from a floor not below"
            if parts[0] in HEAVY:
                assert parts[0] in ALLOWED_HEAVY.get(here, set()), f"{path}:{node.lineno} may not import {name}"


def test_every_room_has_a_floor():
    assert {room(p) for p in FILES} - {"__init__", "__main__"} <= set(FLOORS)


@pytest.mark.parametrize("module", ["rewardsmith", "rewardsmith.cli.main", "rewardsmith.data"])
def test_light_imports_leave_torch_alone(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
