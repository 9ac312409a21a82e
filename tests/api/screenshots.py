"""Pictures of the product for README and docs: `python -m tests.api.screenshots docs/images`.

The demonstration clinic is written anew, served, and photographed in a real browser.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from api.app import create_app
from api.cli.demonstration import filled
from api.composition import open_service
from api.worker import Worker
from domain.access import Role
from infra.settings import Settings
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from tests.api.browsing import launched, served

WIDTH, SCALE = 1280, 1.25


@contextmanager
def demonstration() -> Iterator[tuple[str, Path]]:
    """The address of a served demonstration, and the folder with its ground truth."""
    # The embedded server runs as a user of its own when this runs as root.
    with tempfile.TemporaryDirectory(prefix="rapport-pictures-") as folder:
        Path(folder).chmod(0o755)
        settings = Settings(home=Path(folder) / "home", database_url=None)
        with open_service(settings) as service:
            filled(service)
            store = ViewStore(service.database.dsn("views"), service.clinic, service.keyring)
            try:
                Worker(VIEWS.all(), service.log, store).catch_up()
            finally:
                store.close()
            with served(create_app(service)) as base:
                yield base, settings.home / "demo"


def eventful(truth: Mapping[str, Any], therapist: str) -> str:
    """The first relationship of that therapist: of all that there is, something happens in it."""
    first: str = next(
        told["relationship"]
        for told in truth["relationships"]
        if therapist in told["therapists"] and told["constellation"] == "individual"
    )
    return first


def photograph(browser: Browser, base: str, folder: Path, out: Path) -> Iterator[Path]:
    """Every picture, as it is made."""
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    personas = {
        Role(told["role"]): told["principal"]
        for told in json.loads((folder / "personas.json").read_text(encoding="utf-8"))
    }
    course = f"/relationships/{eventful(truth, personas[Role.THERAPIST])}"
    shots: tuple[tuple[str, Role | None, str, int], ...] = (
        ("sign-in", None, "/sign-in", 860),
        ("caseload", Role.SUPERVISOR, "/", 900),
        ("relationship", Role.THERAPIST, course, 1240),
        ("notes", Role.THERAPIST, f"{course}/notes", 900),
        ("methods", Role.THERAPIST, f"{course}/methods", 1000),
        ("supervision", Role.SUPERVISOR, f"{course}/supervision", 1000),
        ("base-rates", Role.SUPERVISOR, "/base-rates", 1100),
        ("timeline", Role.THERAPIST, f"{course}/timeline", 900),
        ("receipt", Role.THERAPIST, f"{course}/entries/14", 900),
        ("structure", Role.COMPLIANCE_OFFICER, course, 900),
        ("log", Role.COMPLIANCE_OFFICER, "/log", 860),
    )
    for name, role, path, height in shots:
        with browser.new_context(
            base_url=base,
            viewport={"width": WIDTH, "height": height},
            device_scale_factor=SCALE,
        ) as context:
            page = context.new_page()
            if role is not None:
                page.goto("/sign-in")
                page.locator(f'button[value="{personas[role]}"]').click()
                page.wait_for_load_state()
            page.goto(path)
            yield picture(page, out / f"{name}.png")
            if name == "relationship":
                slider = page.locator("#moment")
                slider.evaluate(
                    "it => { it.value = it.max * 0.45; it.dispatchEvent(new Event('input')) }"
                )
                page.get_by_role("button", name="Show").click()
                page.wait_for_url("**known_at=**")
                yield picture(page, out / "as-known-then.png")


def picture(page: Any, file: Path) -> Path:
    page.screenshot(path=file)
    return file


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with demonstration() as (base, folder), launched() as browser:
        for file in photograph(browser, base, folder, out):
            sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
