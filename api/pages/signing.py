"""Signing in and out: a persona of the demonstration, or whoever has a token."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from api.doors import SESSION_COOKIE, House, TheHouse, require_same_origin
from api.pages import words
from api.pages.site import home, page, within_site

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=2000)]
FormText = Annotated[str, Form(max_length=2000)]


@router.get("/sign-in", name="sign-in")
def ask(request: Request, house: TheHouse, following: Next = "") -> Response:
    """Who is there?"""
    return _asked(request, house, following)


@router.post("/sign-in", name="sign-in")
def sign_in(
    request: Request,
    house: TheHouse,
    persona: FormText = "",
    token: FormText = "",
    following: Annotated[str, Form(alias="next", max_length=2000)] = "",
) -> Response:
    """Begins a session in this browser, for a persona or by a token."""
    require_same_origin(request)
    chosen = next((p for p in house.personas() if str(p.principal) == persona), None)
    text = token.strip() if chosen is None else house.sign_in(chosen)
    who = house.authenticate(text)
    if who is None:
        return _asked(request, house, following, status=401, refused=True)
    request.state.principal = who.person
    response = RedirectResponse(following if within_site(following) else home(who.role), 303)
    response.set_cookie(
        SESSION_COOKIE,
        text,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.post("/sign-out", name="sign-out")
def sign_out(request: Request, house: TheHouse) -> Response:
    """Ends the session, here and in the record's list of tokens."""
    require_same_origin(request)
    house.sign_out(request.cookies.get(SESSION_COOKIE, ""))
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return response


def _asked(
    request: Request, house: House, following: str, *, status: int = 200, refused: bool = False
) -> Response:
    personas = [
        {
            "id": persona.principal,
            "name": persona.name,
            "role": words.ROLES[persona.role],
            "sees": words.SEES[persona.role],
        }
        for persona in house.personas()
    ]
    return page(
        request,
        "sign_in.html",
        None,
        status,
        personas=personas,
        following=following,
        refused=refused,
    )
