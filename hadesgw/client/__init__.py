"""Coding sessions of a gateway, for components on Twisted: `async def` over treq.

    agent = twisted.web.client.Agent(reactor)
    client = CodexClient("http://127.0.0.1:8082", "hgw_...", clock=reactor, agent=agent, random=random.random)
    print(await client.ask("Create fib.py that prints the first ten Fibonacci numbers"))

`python -m hadesgw.client "..."` does the same from a shell. The protocol is that of docs/sessions.md.
"""

from hadesgw.client.codex import CodexClient, CodexError

__all__ = ["CodexClient", "CodexError"]
