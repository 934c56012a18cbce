"""Coding sessions as foreign clients see them: `websockets`, and schemathesis with our OpenAPI document."""
