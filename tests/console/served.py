"""The web application on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from console.web import serving
from pipeline.bureau import Bureau
from tests.servers import free_port
from tests.whole.home import wait_until


@contextmanager
def served(bureau: Bureau) -> Iterator[httpx.Client]:
    """A client of the application, which follows no redirect by itself."""
    port = free_port()
    with (
        serving(bureau, host="127.0.0.1", port=port) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        wait_until(lambda: server.started, seconds=20)
        yield client
