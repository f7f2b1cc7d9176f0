"""The page at /docs: every route with its fields, written on the server. It loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader

EXAMPLES = {
    "/v1/reward": '{"prompt": "What is 2 + 2?", "completions": ["4", "5"]}',
    "/classify": '{"input": ["What is 2 + 2?4"]}',
    "/pooling": '{"input": ["What is 2 + 2?4"]}',
    "/score": '{"queries": "What is 2 + 2?", "documents": ["4", "5"]}',
    "/rerank": '{"query": "What is 2 + 2?", "documents": ["4", "5"]}',
    "/get_reward": '{"query": ["What is 2 + 2?4"]}',
    "/v1/embeddings": '{"input": "What is 2 + 2?4"}',
    "/v1/score/evaluation": '{"model": "model", "messages": ["What is 2 + 2?4"]}',
    "/predict": '{"inputs": "What is 2 + 2?4"}',
}


def docs_page(openapi: Mapping[str, Any], model: str, address: str) -> str:
    """Write the page of an OpenAPI description.

    Args:
        openapi: as FastAPI makes it.
        model: the name that is served.
        address: of the server, without a slash at its end; stands in the examples.
    """
    environment = Environment(loader=PackageLoader("rewardsmith.serving"), autoescape=True, trim_blocks=True)
    info = openapi["info"]
    return environment.get_template("docs.html").render(
        title=info["title"],
        version=info["version"],
        summary=info.get("summary", ""),
        model=model,
        address=address,
        routes=list(_routes(openapi)),
    )


def _routes(openapi: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    schemas = openapi.get("components", {}).get("schemas", {})
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            content = route.get("requestBody", {}).get("content", {})
            schema = _resolved(content.get("application/json", {}).get("schema", {}), schemas)
            yield {
                "method": method.upper(),
                "path": path,
                "tags": route.get("tags", ()),
                "summary": schema.get("description", ""),
                "fields": list(_fields(schema)),
                "example": EXAMPLES.get(path),
            }


def _fields(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield {
            "name": name,
            "type": _type(field),
            "required": name in required,
            "description": field.get("description", ""),
        }


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    return schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)


def _type(schema: Mapping[str, Any]) -> str:
    """Return a type in words: `string or list of integer`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(part) for part in schema["anyOf"]))
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(
        schema.get("title") if schema.get("type") == "object" and "title" in schema else schema.get("type", "any")
    )
