"""What we tell a service registry of our coding sessions: a Hermes component, as its interface has it."""

from __future__ import annotations

from typing import Any

COMPONENT = "codex"
"""The id by which others look for us; a registry that is told none makes one up."""
KIND = "tool"
CAPABILITIES = ("code_generation", "ai_pair_programming", "code_editing", "programming_assistance")


def service_card(version: str, endpoint: str) -> dict[str, Any]:
    """The body of a registration.

    :param endpoint: URL of the gateway, without a slash at its end.
    """
    return {
        "component_id": COMPONENT,
        "name": COMPONENT,
        "version": version,
        "type": KIND,
        "endpoint": endpoint,
        "capabilities": list(CAPABILITIES),
        "metadata": {
            "description": "AI pair programming by a coding agent",
            "component_type": KIND,
            "http": f"{endpoint}/api/codex",
            "websocket": f"{endpoint.replace('http', 'ws', 1)}/ws/codex",
            "openapi": f"{endpoint}/api/codex/openapi.json",
        },
    }
