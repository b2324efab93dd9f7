"""How much may come with a request: what is larger is refused while it comes, before anybody keeps it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Lets no request have a body of more than `most_bytes`, but those that `unless` names, which look for themselves.

    Forms are read before it is known who sends them, and files in them would be kept on the disk meanwhile.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int, unless: Callable[[Scope], bool]) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._unless = unless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body counted."""
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most_bytes:
                raise HTTPException(413, f"A request has at most {self._most_bytes >> 20} MiB.")
            return message

        is_counted = scope["type"] == "http" and not self._unless(scope)
        await self._app(scope, counted if is_counted else receive, send)
