"""A real browser at a real server: what a person sees, is told, and can reach by keyboard."""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import uvicorn
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from starlette.types import ASGIApp

from domain.access import Role

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb")


def chromium() -> str:
    """The browser's program: `CHROMIUM`, as `make test` finds it, or one by its usual name."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert found, "The page tests need Chromium: `make chromium` finds or installs it."
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    playwright: Playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The address of the app on a loopback port of its own, while the block lasts."""
    config = uvicorn.Config(app, "127.0.0.1", 0, log_config=None, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server ended before it began"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def write_personas(home: Path, people: dict[Role, tuple[str, UUID]]) -> None:
    """The personas that this home offers, as `rapport demo` writes them."""
    folder = home / "demo"
    folder.mkdir(exist_ok=True)
    told = [
        {"role": role.value, "name": name, "principal": str(person)}
        for role, (name, person) in people.items()
    ]
    (folder / "personas.json").write_text(json.dumps(told), encoding="utf-8")


@dataclass
class Visitor:
    """One person with a browser of their own, and everything that went wrong in it."""

    browser: Browser
    base: str
    script: bool = True
    width: int = 1280
    faults: list[str] = field(default_factory=list)
    """Errors in the console, errors of scripts, requests to elsewhere."""

    def __post_init__(self) -> None:
        self.context = self.browser.new_context(
            viewport={"width": self.width, "height": 900},
            java_script_enabled=self.script,
            base_url=self.base,
        )
        self.page: Page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))

    def _heard(self, message: Any) -> None:
        # The browser itself remarks on every answer that is no 200; those are asked for on purpose.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base, "data:")):
            self.faults.append(f"asked {url}")

    def sign_in(self, persona: UUID) -> None:
        self.page.goto("/sign-in")
        self.page.locator(f'button[value="{persona}"]').click()
        self.page.wait_for_load_state()

    def open(self, path: str) -> int:
        """Opens a page and gives its status."""
        answer = self.page.goto(path)
        assert answer is not None
        return answer.status

    def text(self) -> str:
        """Everything that the page shows or tells, titles in drawings included."""
        return self.page.content()

    def is_wider_than_the_window(self) -> bool:
        """Whether one would have to scroll sideways to read the page."""
        wide: bool = self.page.evaluate(
            "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )
        return wide

    def tab(self) -> dict[str, Any]:
        """Moves the focus on by one; what has it then, and how that is shown."""
        self.page.keyboard.press("Tab")
        focus: dict[str, Any] = self.page.evaluate(
            """() => {
              const it = document.activeElement, style = getComputedStyle(it);
              const box = it.getBoundingClientRect();
              return {tag: it.tagName, id: it.id, value: it.value ?? "", name: it.innerText ?? "",
                      outline: style.outlineStyle, width: parseFloat(style.outlineWidth),
                      top: box.top + scrollY, left: box.left};
            }"""
        )
        return focus

    def close(self) -> None:
        self.context.close()
