"""Care of the record: amendments, a legal hold, a restriction, an emergency access."""

from datetime import datetime, timedelta

from api.demo import words
from api.demo.scene import Hour, Scene
from api.demo.stage import Find
from domain.access import BreakGlass, Finding, ReviewAccess
from domain.amendment import (
    AcceptAmendment,
    DenialGround,
    DenyAmendment,
    RequestAmendment,
    StateDisagreement,
)
from domain.hold import PlaceLegalHold
from domain.note import AddToNote
from domain.restriction import Against, AgreeRestriction, RecipientKind

ACCEPTED, DENIED, WAITING, HELD, RESTRICTED = 8, 9, 0, 11, 7
BROKEN = {3: 10, 6: 14}
"""By relationship, the session after which somebody else looked in, in an emergency."""


class Office:
    """What is asked, agreed and decided about the record of one relationship."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._waits = False

    def after(self, hour: Hour) -> None:
        scene, number = self._scene, self._scene.plot.number
        at = hour.recorded_at + timedelta(days=1, hours=1)
        if number in (ACCEPTED, DENIED) and hour.number == 12:
            self._ask(at, "note/9")
            if number == ACCEPTED:
                self._accept(at + timedelta(days=4))
            else:
                self._deny(at + timedelta(days=6))
        lately = scene.stage.now - at < timedelta(days=50)
        if number == WAITING and lately and not self._waits:
            self._waits = True
            self._ask(at, "note/9")
        if number == HELD and hour.number == 15:
            hold = PlaceLegalHold(
                relationship=scene.relationship,
                hold=scene.id("hold"),
                matter="4 O 118/26",
                authority="The district court",
            )
            scene.act(at, "hold", scene.stage.officer, hold)
        if number == RESTRICTED and hour.number == 4:
            restrict = AgreeRestriction(
                relationship=scene.relationship,
                restriction=scene.id("restriction"),
                client=scene.client.id,
                against=Against(recipient=RecipientKind.HEALTH_PLAN),
                what=words.RESTRICTED,
            )
            scene.act(at, "restriction", scene.therapist, restrict)
        if BROKEN.get(number) == hour.number:
            self._break(at)

    # --- Amendments --------------------------------------------------------------------------

    def _ask(self, at: datetime, note: str) -> None:
        scene = self._scene

        def ask(find: Find) -> RequestAmendment:
            return RequestAmendment(
                relationship=scene.relationship,
                amendment=scene.id("amendment"),
                entry=find(scene.key(note)).version,
                party=scene.client.id,
                wants=words.AMENDMENT,
                reason=words.AMENDMENT_REASON,
            )

        if scene.act(at, "amendment/asked", scene.client, ask):
            scene.plant("amendment", key="amendment/asked")

    def _accept(self, at: datetime) -> None:
        scene = self._scene
        add = AddToNote(
            relationship=scene.relationship,
            note=scene.id("note/9"),
            addendum=scene.id("note/9", "amended"),
            text=words.AMENDED,
            author=scene.therapist.id,
        )
        scene.act(at, "note/9/amended", scene.therapist, add)

        def accept(find: Find) -> AcceptAmendment:
            return AcceptAmendment(
                relationship=scene.relationship,
                amendment=scene.id("amendment"),
                addendum=find(scene.key("note/9/amended")).version,
            )

        later = at + timedelta(hours=1)
        scene.act(later, "amendment/accepted", scene.therapist, accept)

    def _deny(self, at: datetime) -> None:
        scene = self._scene
        deny = DenyAmendment(
            relationship=scene.relationship,
            amendment=scene.id("amendment"),
            ground=DenialGround.ACCURATE_AND_COMPLETE,
            reason=words.DENIED,
        )
        scene.act(at, "amendment/denied", scene.therapist, deny)
        state = StateDisagreement(
            relationship=scene.relationship,
            amendment=scene.id("amendment"),
            text=words.DISAGREES,
        )
        scene.act(at + timedelta(days=3), "amendment/disagreed", scene.client, state)

    # --- Emergencies -------------------------------------------------------------------------

    def _break(self, at: datetime) -> None:
        """A colleague on call opens the record; of one of two somebody has looked into it."""
        scene = self._scene
        others = [one for one in scene.stage.therapists if one not in scene.therapists]
        opened = BreakGlass(relationship=scene.relationship, reason=words.EMERGENCY)
        if not scene.act(at, "break-glass", others[0], opened) or scene.plot.number != 3:
            return

        def review(find: Find) -> ReviewAccess:
            return ReviewAccess(
                relationship=scene.relationship,
                entry=find(scene.key("break-glass")).version,
                finding=Finding.JUSTIFIED,
                note=words.EMERGENCY_REVIEWED,
            )

        scene.act(at + timedelta(days=1), "break-glass/reviewed", scene.stage.officer, review)
