"""What pages say of the alliance in general: reviewed, with a source, and nothing beyond that."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from jinja2 import Environment
from jinja2.lexer import TOKEN_DATA

from api.pages import claims, words
from api.pages.claims import claim
from domain.methods.catalogue import METHODS
from projections.caseload import Finding, Missing

PAGES = Path(claims.__file__).parent

FORBIDDEN = re.compile(
    r"\b(caus\w*|because of|due to|leads? to|results? in|predict\w*|prognos\w*|forecast\w*"
    r"|at risk of|risk of drop\w*|will (drop|worsen|improve|deteriorate|fail)"
    r"|improv(es|ed) outcome|worsen\w*|deteriorat\w*|better than|worse than|rank\w*)\b",
    re.IGNORECASE,
)
"""Causal and predictive wording, and comparing people."""

A_METHOD_S = re.compile(r"(?<!possible )(?<!possible-)ruptures?\b", re.IGNORECASE)
"""A rupture that is not called possible."""


def templates() -> Iterator[tuple[str, str]]:
    """The words of every template, without its code."""
    lexer = Environment(autoescape=True)
    for path in sorted(PAGES.glob("templates/*.html")):
        source = path.read_text(encoding="utf-8")
        told = [text for _, kind, text in lexer.lex(source) if kind == TOKEN_DATA]
        yield path.name, " ".join(told)


def test_every_claim_has_a_source_and_a_day_of_review() -> None:
    """Rule 44: claims come from one reviewed file, each with where it is from."""
    assert claims.claims()
    assert all(one.says.strip() and one.source.strip() for one in claims.claims().values())
    assert date(2026, 1, 1) < claims.reviewed() <= date.today()  # noqa: DTZ011  a file's own day
    with pytest.raises(LookupError):
        claim("the-alliance-heals")


def test_nothing_is_said_to_cause_or_to_predict() -> None:
    """Rule 44: no causal wording, no prediction for a person, nobody ranked, on any page."""
    said = dict(templates())
    said |= {name: one.says for name, one in claims.claims().items()}
    said |= {f"finding {missing}": words.finding(Finding(missing)) for missing in Missing}
    said |= {
        f"method {method.name}": " ".join(
            (method.title, method.asks, *(spec.about for spec in method.specs))
        )
        for method in METHODS.values()
    }
    found = {
        (name, match.group()) for name, text in said.items() for match in FORBIDDEN.finditer(text)
    }
    assert found == set()


def test_what_a_method_finds_is_called_possible() -> None:
    """Rules 37, 44: no method, and no sentence about methods, calls anything a rupture."""
    said = {method.name: " ".join((method.title, method.asks)) for method in METHODS.values()}
    said |= {"methods.html": dict(templates())["methods.html"]}
    found = {name for name, text in said.items() if A_METHOD_S.search(text)}
    assert found == set()


def test_pages_show_claims_that_there_are() -> None:
    """Rule 44: a template names its claims; each of them was reviewed, none lies unused."""
    named = {
        name
        for path in PAGES.glob("templates/*.html")
        for name in re.findall(r'claim\("([a-z-]+)"\)', path.read_text(encoding="utf-8"))
    }
    assert named == claims.claims().keys()
