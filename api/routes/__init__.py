"""The routes, one file per concept: what there is to record about it and to read of it."""

from api.routes import (
    access,
    alliance,
    clinic,
    command,
    consent,
    correction,
    entries,
    goal,
    health,
    instrument,
    log,
    outcome,
    person,
    relationship,
    risk,
    rupture,
    session,
    task,
)

ROUTERS = tuple(
    concept.router
    for concept in (
        clinic,
        person,
        relationship,
        consent,
        session,
        goal,
        task,
        alliance,
        outcome,
        risk,
        rupture,
        correction,
        entries,
        command,
        instrument,
        log,
        access,
        health,
    )
)
