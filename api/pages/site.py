"""What all pages share: templates, the way around, headers, and problems shown to a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit
from uuid import uuid4

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.access import DOORS, Principal
from api.doors import SESSION_COOKIE, House, house_of
from api.pages import words
from api.pages.claims import claim
from api.problems import NotAuthenticated, Problem
from domain.access import Role

_HERE = Path(__file__).parent

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # Under no-referrer a browser hides the origin of our own forms from us.
    "referrer-policy": "same-origin",
}
"""Nothing is loaded from elsewhere, and nothing that stands in a page is run."""

_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "day": words.day,
    "minute": words.minute,
    "second": words.second,
    "short": words.short,
    "plain": words.plain,
    "field": words.field,
}
_templates.globals |= {"claim": claim, "new_id": uuid4}

STATIC: Final = {
    path.name: (path.read_bytes(), media_type)
    for path, media_type in (
        (_HERE / "static" / "rapport.css", "text/css"),
        (_HERE / "static" / "rapport.js", "text/javascript"),
        (_HERE / "static" / "icon.svg", "image/svg+xml"),
    )
}
"""Everything a page loads, by name."""


# --- The way around -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where the navigation leads, and the door that one goes through."""

    path: str
    name: str
    door: str


PLACES: Final = (
    Place("/", "Relationships", "caseload"),
    Place("/base-rates", "Base rates", "aggregates"),
    Place("/log", "Log", "log"),
)


ROOMS: Final = (
    Place("", "Course", "dossier"),
    Place("/notes", "Notes", "notes"),
    Place("/methods", "Method cards", "analyses"),
    Place("/supervision", "Supervision", "supervision"),
    Place("/process-notes", "Process notes", "process-notes"),
    Place("/timeline", "Timeline", "timeline"),
    Place("/readers", "Who read it", "readers"),
)
"""The pages of one relationship, below its own address."""


def rooms(role: Role) -> tuple[Place, ...]:
    """The pages of a relationship that the access table opens to a role."""
    return tuple(room for room in ROOMS if role in DOORS[room.door].who)


def places(role: Role) -> tuple[Place, ...]:
    """The places that the access table opens to a role."""
    return tuple(place for place in PLACES if role in DOORS[place.door].who)


def home(role: Role) -> str:
    """Where a role begins."""
    return next((place.path for place in places(role)), "/sign-in")


def within_site(path: str) -> bool:
    """Whether a path that came from outside leads to a page of this site."""
    parts = urlsplit(path)
    inside = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return inside and not parts.scheme and not parts.netloc and path.isprintable()


# --- Pages ----------------------------------------------------------------------------------


def page(
    request: Request, template: str, who: Principal | None, status: int = 200, **told: Any
) -> HTMLResponse:
    """A page for somebody, or for nobody in particular."""
    signed_in = who and {
        "name": _called(house_of(request), who),
        "role": words.ROLES[who.role].lower(),
        "home": home(who.role),
    }
    text = _templates.get_template(template).render(
        who=signed_in,
        places=places(who.role) if who else (),
        rooms=rooms(who.role) if who else (),
        here=request.url.path,
        **told,
    )
    return HTMLResponse(text, status, HEADERS)


def _called(house: House, who: Principal) -> str:
    """A name for whoever is signed in; staff of the demonstration has one there only."""
    found = house.name_of(who.person)
    personas = (persona.name for persona in house.personas() if persona.principal == who.person)
    return found or next(personas, words.short(who.person))


def drawn(svg: str) -> Markup:
    """A drawing of our own, put into a page as it is."""
    return Markup(svg)  # noqa: S704  # made by api/pages/charts.py, which escapes what it is told


def error_page(request: Request, problem: Problem, headers: Mapping[str, str]) -> Response:
    """A problem for a person; whoever is not signed in is asked to."""
    if problem.code == NotAuthenticated.code:
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(asked, safe='')}", 303)
    who = None
    cookie = request.cookies.get(SESSION_COOKIE)
    # Where the record cannot be reached, nobody can be recognised either.
    if cookie and problem.status < 500:
        who = house_of(request).authenticate(cookie)
    response = page(request, "problem.html", who, problem.status, problem=problem)
    response.headers.update(headers)
    return response
