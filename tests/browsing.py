"""The page's server in a thread, and a browser's page that is watched."""

import threading
import time
from contextlib import contextmanager

import pytest


@contextmanager
def serving(app, **settings):
    """Serve an application from a thread on a free port; give the port and what ends it."""
    uvicorn = pytest.importorskip("uvicorn", reason="the server needs: pip install 'geocamnet[web]'")
    from geocamnet.web.server import MOST_AT_ONCE, MOST_HEADER_BYTES, listen

    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, log_level="critical", lifespan="off", ws="none", http="h11", server_header=False,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES, limit_concurrency=MOST_AT_ONCE,
        timeout_graceful_shutdown=1, **settings,
    )  # fmt: skip
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not running.started and time.monotonic() < until:
        time.sleep(0.02)

    def end():
        running.should_exit = True
        thread.join(20)
        listener.close()

    try:
        yield listener.getsockname()[1], end
    finally:
        end()


@contextmanager
def watched(context, origin, *, allow=()):
    """Give a page of a context; at its end nothing may have been said in the console or asked of another origin."""
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda one: said.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda one: asked.append(one.url))
    yield page
    said = [one for one in said if not any(known in one for known in allow)]
    assert not said, said
    elsewhere = [url for url in asked if not url.startswith((origin, "blob:", "data:"))]
    assert not elsewhere, elsewhere


def wait_for_answers(page, least, seconds=60):
    """Wait until a page has shown at least so many answers; a live picture goes on counting."""
    until = time.monotonic() + seconds
    while int(page.locator("body").get_attribute("data-seen") or 0) < least:
        assert time.monotonic() < until, f"fewer than {least} answers in {seconds} s"
        time.sleep(0.05)
