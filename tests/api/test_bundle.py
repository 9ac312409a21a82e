"""Making an evidence bundle: by whom, of what, and that it is an entry first."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.access import OutOfReach, ReadingRestricted
from api.bundles import Made, NotChosen, TimeAhead, make
from api.composition import house as parts_of
from api.doors import Visit, enter
from api.verifier.checks import Verdict
from api.verifier.command import verified
from domain.correction import CorrectEntry
from domain.disclosure import ExportMade, disclosure_stream
from domain.relationship import relationship_stream
from domain.restriction import Against, AgreeRestriction, RecipientKind
from domain.session import SessionHeld
from infra.acknowledged import LogDiverged
from infra.bundle import BundleBroken, Manifest, Withheld, unpacked
from infra.checkpoint import COSIGNATURE, Checkpoint, SignedNote, VerifierKey
from infra.checkpoint_store import CheckpointStore, Cosigned, KeptCheckpoint
from infra.recorder import ClinicDatastore
from infra.tile_files import export
from infra.tiles import SignedTree, TiledHashes, TilesBroken
from infra.timestamp import Timestamp
from tests.api.conftest import SECRET, House, Somebody


def visit(house: House, who: Somebody, **asked: object) -> Visit:
    """Somebody who is let in to take a copy along; the reading is an entry."""
    practice = house.practice
    principal = practice.service.tokens.authenticate(who.token)
    rooms = parts_of(practice.service)
    return enter(rooms, principal, "export", relationship=house.relationship, **asked)  # type: ignore[arg-type]


def bundle(house: House, who: Somebody, only: tuple[int, ...] = (), **asked: object) -> Made:
    return make(house.practice.service, visit(house, who, **asked), only)


def shown(house: House, made: Made) -> Verdict:
    """What the bundle proves to somebody who knows the clinic's key."""
    return verified(made.data, keys=[house.practice.service.log.key.verifier])


def codes(verdict: Verdict) -> set[str]:
    return {point.code for point in verdict.proven}


def not_proven(verdict: Verdict) -> set[str]:
    return {point.code for point in verdict.open}


def exports(house: House) -> list[ExportMade]:
    history = house.practice.clinic.log.history(disclosure_stream(house.relationship))
    return [made for _, made in history.of(ExportMade)]


def manifest_of(made: Made) -> Manifest:
    return Manifest.parse(unpacked(made.data)["manifest.json"])


def reasons(made: Made) -> list[Withheld | None]:
    return [each.withheld for each in manifest_of(made).contents.entries]


def test_a_bundle_is_an_entry_first_and_proves_what_it_holds(house: House) -> None:
    """Evidence bundle: made through the same door as every copy; the log says what was handed
    out, and everything in the bundle is proven by it."""
    made = bundle(house, house.therapist, purpose="a second opinion")
    (noted,) = exports(house)
    history = house.practice.clinic.log.history(disclosure_stream(house.relationship))
    assert (history[-1].position, noted.to) == (made.position, house.therapist.person)
    assert (noted.what, noted.purpose) == ("export", "a second opinion")
    verdict = shown(house, made)
    assert {"signer", "logged", "contents", "export", "views", "report"} <= codes(verdict)
    assert SECRET in unpacked(made.data)["report.html"].decode()
    assert set(reasons(made)) == {None}


def test_whoever_is_not_let_in_makes_none(house: House) -> None:
    """R43: no entry, no bundle: a therapist of somebody else makes neither."""
    with pytest.raises(OutOfReach):
        bundle(house, house.other_therapist)
    assert exports(house) == []


def test_structure_alone_is_proven_without_a_word_of_content(house: House) -> None:
    """Evidence bundle: content that is not for the reader is replaced by its commitment."""
    made = bundle(house, house.officer)
    assert set(reasons(made)) == {Withheld.READER}
    assert SECRET.encode() not in made.data
    verdict = shown(house, made)
    assert "logged" in codes(verdict)
    assert "withheld_reader" in not_proven(verdict)


def test_one_entry_can_be_disclosed_alone(house: House) -> None:
    """Evidence bundle: one entry's content is shown, of all others that, when and by whom."""
    goal = _position(house, "goal.proposed")
    made = bundle(house, house.therapist, (goal,))
    files = unpacked(made.data)
    contents = [name for name in files if name.endswith(".content.json")]
    assert contents == [f"entries/{p:012}.content.json" for p in (goal, made.position)]
    assert SECRET in files[contents[0]].decode()
    assert reasons(made).count(Withheld.SELECTION) == len(reasons(made)) - 1
    assert "withheld_selection" in not_proven(shown(house, made))
    assert "only 1 chosen entries are disclosed" in exports(house)[0].filters


def test_what_cannot_be_disclosed_is_not_chosen(house: House) -> None:
    """Evidence bundle: a position of nothing, or of what is withheld, is refused, without an
    entry that says otherwise."""
    goal = _position(house, "goal.proposed")
    with pytest.raises(NotChosen, match="999"):
        bundle(house, house.therapist, (goal, 999))
    with pytest.raises(NotChosen, match=str(goal)):
        bundle(house, house.officer, (goal,))
    assert exports(house) == []


def test_the_entry_after_shows_that_none_is_missing_before(house: House) -> None:
    """Evidence bundle: completeness up to T is proven by the number of the first entry past it;
    where there is none, it is the clinic's statement."""
    then = house.practice.clinic.clock.now
    early = bundle(house, house.therapist, known_at=then)
    assert "complete" in not_proven(shown(house, early))
    house.practice.later(days=1)
    house.practice.recorded(house.therapist, house.held())
    made = bundle(house, house.therapist, known_at=then)
    assert reasons(made)[-1] is Withheld.RECORDED_LATER
    assert "complete" in codes(shown(house, made))


def test_what_happened_later_stays_out(house: House) -> None:
    """Rule 5: a bundle tells of what had happened by its time; of the rest, that it is there."""
    then = house.practice.clinic.clock.now
    house.practice.later(days=1)
    house.practice.recorded(house.therapist, house.held())
    made = bundle(house, house.therapist, happened_by=then)
    assert reasons(made).count(Withheld.HAPPENED_LATER) == 1
    assert "withheld_happened_later" in not_proven(shown(house, made))


def test_a_time_that_has_not_come_is_refused(house: House) -> None:
    """Evidence bundle: nobody can say what will be known; and nothing is noted."""
    with pytest.raises(TimeAhead):
        bundle(house, house.therapist, known_at=house.practice.clinic.clock.now + timedelta(days=1))
    assert exports(house) == []


def test_corrections_read_as_such(house: House) -> None:
    """Evidence bundle: the page tells what was corrected, and by which entry."""
    history = house.practice.clinic.log.history(relationship_stream(house.relationship))
    entry, held = next(iter(history.of(SessionHeld)))
    content = held.model_dump(mode="json", exclude_none=True, exclude={"reported"})
    correct = CorrectEntry(
        stream=relationship_stream(house.relationship),
        entry=entry.version,
        content={**content, "ended_at": (held.ended_at - timedelta(minutes=5)).isoformat()},
        reason="It ended early.",
    )
    house.practice.recorded(house.therapist, correct)
    made = bundle(house, house.therapist)
    assert "views" in codes(shown(house, made))
    page = unpacked(made.data)["report.html"].decode()
    assert f'Corrected by entry <a href="#e{len(history) + 1}">' in page


def test_a_restriction_binds_a_bundle_for_somebody(house: House) -> None:
    """R22: what a client has restricted does not leave in a bundle either."""
    restrict = AgreeRestriction(
        relationship=house.relationship,
        client=house.client.person,
        against=Against(recipient=RecipientKind.HEALTH_PLAN),
        what="Nothing for the health plan.",
    )
    house.practice.recorded(house.therapist, restrict)
    with pytest.raises(ReadingRestricted):
        bundle(house, house.therapist, recipient=RecipientKind.HEALTH_PLAN)
    assert exports(house) == []


# --- Afterwards -------------------------------------------------------------------------------


def test_what_was_handed_out_still_proves_itself_after_an_erasure(house: House) -> None:
    """Erasure: every bundle handed out still verifies; a new one says what is erased."""
    before = bundle(house, house.therapist)
    clinic = house.practice.clinic
    history = clinic.log.history(relationship_stream(house.relationship))
    entry = next(each for each in history if each.topic == "alliance.rated")
    clinic.keyring.destroy(clinic.id, entry.key_id)
    house.practice.later(minutes=1)
    assert "contents" in codes(shown(house, before))
    after = bundle(house, house.therapist)
    assert Withheld.ERASED in reasons(after)
    assert f"entries/{entry.position:012}.content.json" not in unpacked(after.data)
    verdict = shown(house, after)
    assert "logged" in codes(verdict)
    assert "withheld_erased" in not_proven(verdict)


def test_a_record_that_was_altered_gives_no_bundle(house: House) -> None:
    """Tampering: nothing is handed out as proven that the log does not prove."""
    goal = _position(house, "goal.proposed")
    clinic = house.practice.clinic
    with psycopg.connect(clinic.database.dsn("owner"), autocommit=True) as connection:
        connection.execute("ALTER TABLE rapport.entries DISABLE TRIGGER ALL")
        change = "UPDATE rapport.entries SET leaf_input = %s WHERE clinic = %s AND position = %s"
        (leaf,) = connection.execute(
            "SELECT leaf_input FROM rapport.entries WHERE clinic = %s AND position = %s",
            (clinic.id, goal),
        ).fetchone() or (b"",)
        altered = bytes(leaf).replace(b"entered", b"imports")
        connection.execute(change, (altered, clinic.id, goal))
        try:
            with pytest.raises((BundleBroken, LogDiverged, TilesBroken, ValueError)):
                bundle(house, house.therapist)
        finally:
            connection.execute(change, (leaf, clinic.id, goal))
            connection.execute("ALTER TABLE rapport.entries ENABLE TRIGGER ALL")


# --- Witnesses and time -----------------------------------------------------------------------


class Witness:
    """Somebody who cosigns (c2sp.org/tlog-cosignature, v1), written anew from the document."""

    def __init__(self, name: str) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.key = VerifierKey(name, COSIGNATURE, self._key.public_key().public_bytes_raw())

    def line(self, body: str, at: datetime) -> str:
        seconds = int(at.timestamp())
        message = f"cosignature/v1\ntime {seconds}\n{body}".encode()
        said = self.key.key_id + seconds.to_bytes(8, "big") + self._key.sign(message)
        return f"— {self.key.name} {b64encode(said).decode()}\n"


def test_a_head_that_a_witness_cosigned_goes_along(house: House) -> None:
    """Witnesses: cosignatures stand over an earlier head, which the bundle's log continues."""
    service, witness = house.practice.service, Witness("witness.example/w1")
    note = service.log.checkpoint()
    signed = SignedNote.parse(note)
    head = Checkpoint.parse(signed.text)
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    store = ClinicDatastore(house.practice.clinic.database.dsn("app"), service.clinic)
    try:
        kept = CheckpointStore(store)
        assert kept.keep(head.origin, KeptCheckpoint(head.size, note, at))
        line = witness.line(signed.text, at)
        kept.cosign(head.origin, Cosigned(str(witness.key), head.size, line, at), at)
        kept.stamp(head.origin, head.size, Timestamp(b"no token", at), at)
    finally:
        store.close()
    made = bundle(house, house.therapist)
    verdict = verified(made.data, witnesses=[witness.key])
    (said,) = (point.says for point in verdict.proven if point.code == "witness")
    assert f"with {head.size} entries on 2026-03-02T12:00:00.000000Z" in said
    assert "timestamp" in not_proven(verdict)
    assert "witness" in not_proven(verified(made.data))
    with pytest.raises(BundleBroken, match="witness_unsigned"):
        verified(made.data, witnesses=[Witness("witness.example/w2").key])
    with pytest.raises(BundleBroken, match="timestamp_malformed"):
        verified(made.data, roots=[])


def test_the_exported_log_proves_that_none_is_missing(house: House, tmp_path: Path) -> None:
    """Evidence bundle: what was the clinic's statement is proven by the tiles of its log."""
    made = bundle(house, house.therapist)
    assert "complete" in not_proven(shown(house, made))
    house.practice.later(days=1)
    house.practice.recorded(house.therapist, house.held())
    log = house.practice.service.log
    note = log.checkpoint()
    head = Checkpoint.parse(SignedNote.parse(note).text)
    store = ClinicDatastore(house.practice.clinic.database.dsn("read"), log.clinic)
    try:
        tree = SignedTree(TiledHashes(store), head.size, head.root)
        export(tmp_path / "log", note, tree, log.key.verifier, entries=True)
    finally:
        store.close()
    verdict = verified(made.data, log=tmp_path / "log")
    assert "complete" in codes(verdict)
    assert "complete" not in not_proven(verdict)


def test_another_key_is_another_log(house: House) -> None:
    """Receipts: who knows the clinic's key is told where a bundle was signed by another."""
    made = bundle(house, house.therapist)
    assert "signer" in not_proven(verified(made.data))
    with pytest.raises(BundleBroken, match="signer"):
        verified(made.data, keys=[VerifierKey("another.example", 1, bytes(32))])


def _position(house: House, topic: str) -> int:
    history = house.practice.clinic.log.history(relationship_stream(house.relationship))
    return next(each.position for each in history if each.topic == topic)
