"""The certificate of an erasure: what it says, that it stands alone, that nothing in it bends."""

import hmac
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from psycopg.conninfo import conninfo_to_dict

from api.cli.certificate import as_html, as_text
from api.erasing import NothingErased, carry_out, certificate, plan, reached
from domain.disclosure import DiscloseRecord, LegalBasis, Recipient, SuspendAccounting
from domain.erasure import ErasureBasis, RequestErasure
from domain.event import Erased
from domain.information import GiveInformation
from domain.relationship import Constellation, OpenRelationship, relationship_stream
from domain.restriction import Purpose, RecipientKind
from infra.canonical import decode, encode
from infra.certificate import FORMAT, Certificate, CertificateBroken, Extent, checked, signed
from infra.checkpoint import NoteSigner, VerifierKey
from infra.log_key import LogKey
from infra.merkle import leaf_hash
from infra.postgres import EmbeddedPostgres
from infra.proof import TlogProof
from infra.reach import Reach
from infra.sealing import commitment
from infra.verify import LogBroken
from infra.view_store import ViewStore
from projections.dossier import VIEWS
from tests.api.conftest import SECRET, SHA256, House

LAWFUL, WHY = ErasureBasis.LEGAL_OBLIGATION, "By order of the court."
FORMAT_PAGE = Path(__file__).parents[2] / "docs/formats/erasure-certificate.md"


def log_key(house: House) -> LogKey:
    return LogKey.of(house.practice.clinic.keyring, house.practice.clinic.id)


def erase(house: House, person: UUID) -> str:
    """The signed certificate of an erasure that is carried out now."""
    service = house.practice.service
    carry_out(service, plan(service, person, LAWFUL, WHY), LAWFUL, WHY)
    return issued(house, person)


def issued(house: House, person: UUID) -> str:
    return signed(certificate(house.practice.service, person), log_key(house).signer)


def disclose(house: House, kind: RecipientKind, name: str, **more: Any) -> DiscloseRecord:
    return DiscloseRecord(
        relationship=house.relationship,
        recipient=Recipient(kind=kind, name=name, **more),
        purpose=Purpose.TREATMENT,
        legal_basis=LegalBasis.CARE,
        basis="Further treatment.",
        what="The goals.",
    )


# --- What it says ---------------------------------------------------------------------------


def test_it_says_what_was_destroyed_and_proves_it(house: House) -> None:
    """R25: the entry word for word, its proof, the keys, the log before and after; all of it is
    checked with nothing but the log's public key."""
    practice, log = house.practice, house.practice.clinic.log
    practice.recorded(house.client, RequestErasure(person=house.client.person))
    practice.worker.catch_up()
    size, root = log.head_size(), log.head().root.hex()
    text = erase(house, house.client.person)
    key = VerifierKey.parse(str(log_key(house).verifier))
    found = checked(text, [key])
    (destruction,) = found.destructions
    assert destruction.position == size + 1
    assert (destruction.event.basis, destruction.event.reason) == (LAWFUL, WHY)
    assert destruction.event.proven is not None
    assert (destruction.event.proven.size, destruction.event.proven.root) == (size, root)
    assert found.keys == practice.clinic.keyring.destroyed(practice.clinic.id)
    assert [(each.relationship, each.extent) for each in found.affected] == [
        (house.relationship, Extent.WHOLE)
    ]
    assert (found.proven.size, found.proven.root) == (log.head_size(), log.head().root.hex())
    unreadable = {(each.category, each.topic): each.entries for each in found.unreadable}
    assert unreadable["relationship", "goal.proposed"] == 1
    assert unreadable["person", "person.registered"] == 1
    remaining = {(each.category, each.topic): each.entries for each in found.remaining}
    assert remaining["erasure", "erasure.requested"] == 1
    assert remaining["erasure", "key.destroyed"] == 1


def test_it_tells_no_content_and_no_name(house: House) -> None:
    """R25, R27: neither the file, nor in words, nor as a page."""
    text = erase(house, house.client.person)
    found = checked(text, log_key(house).verifiers)
    for shown in (text, as_text(found), as_html(found, text)):
        assert SECRET not in shown
        assert "Beispiel" not in shown
        assert str(house.client.person) in shown
    page = as_html(found, text)
    assert "<script" not in page
    assert not re.search(r'(src|href)="', page)


def test_the_views_are_settled_when_it_is_issued(house: House) -> None:
    """Rule 9: no worker runs, and still no row holds anything under a destroyed key; each says
    which entry is erased."""
    practice, person = house.practice, house.client.person
    practice.worker.catch_up()
    keys = plan(practice.service, person, LAWFUL, WHY).keys
    tables = [view.table for view in VIEWS.all()]
    reach = Reach(practice.clinic.database.dsn("app"), practice.clinic.id)
    assert len(reach.rows_sealed_by(tables, keys)) > 3
    erase(house, person)
    assert reach.rows_sealed_by(tables, keys) == {}
    timeline = practice.shown(house.officer, f"/relationships/{house.relationship}/timeline")
    erased = [line["late_reason"] for line in timeline["items"] if line["late_reason"]["erased"]]
    assert erased
    assert all(cell["entry"]["position"] for cell in erased)


def test_views_that_a_worker_is_moving_are_waited_for(house: House) -> None:
    """Rule 9: the command returns when they are settled, not before."""
    practice, clinic, person = house.practice, house.practice.clinic, house.client.person
    practice.worker.catch_up()
    keys = plan(practice.service, person, LAWFUL, WHY).keys
    reach = Reach(clinic.database.dsn("app"), clinic.id)
    tables = [view.table for view in VIEWS.all()]
    other = ViewStore(clinic.database.dsn("views"), clinic.id, clinic.keyring)
    with ThreadPoolExecutor(1) as pool:
        with other.advancing(VIEWS.all()):
            erasing = pool.submit(erase, house, person)
            assert wait([erasing], timeout=2).not_done
            assert gone(house), "the keys do not wait"
            assert reach.rows_sealed_by(tables, keys)
        erasing.result(30)
    other.close()
    assert reach.rows_sealed_by(tables, keys) == {}


def gone(house: House) -> bool:
    stream = relationship_stream(house.relationship)
    return all(isinstance(e.event, Erased) for e in house.practice.clinic.log.history(stream))


def test_a_dry_run_says_the_same_beforehand(house: House) -> None:
    """Rule 9: which entries, which rows, which copies; afterwards it is just so."""
    practice, person = house.practice, house.client.person
    practice.worker.catch_up()
    practice.shown(house.client, f"/relationships/{house.relationship}/export")
    planned = plan(practice.service, person, LAWFUL, WHY)
    found = reached(practice.service, planned)
    assert {count.stream.partition("-")[0] for count in found.entries} >= {"person", "relationship"}
    assert {"timeline", "goal_course"} <= {table.rpartition("_v")[0] for table in found.views}
    assert len(found.copies) == 1
    said = checked(erase(house, person), log_key(house).verifiers)
    assert sum(count.entries for count in found.entries) == sum(
        count.entries for count in said.unreadable
    )
    assert list(said.copies) == list(found.copies)


def test_it_is_issued_again_with_the_same_facts(house: House) -> None:
    """R25: later, over a longer log; both hold, and nobody is certified of what was not done."""
    practice, person = house.practice, house.client.person
    with pytest.raises(NothingErased):
        certificate(practice.service, person)
    first = checked(erase(house, person), log_key(house).verifiers)
    practice.later(days=30)
    practice.recorded(house.officer, RequestErasure(person=house.other_client.person))
    again = checked(issued(house, person), log_key(house).verifiers)
    same = {"destructions", "unreadable", "copies", "subject", "clinic", "log"}
    assert again.model_dump(include=same) == first.model_dump(include=same)
    assert again.proven.size > first.proven.size
    assert again.issued_at > first.issued_at


def test_a_couple_loses_a_part_then_the_whole(house: House) -> None:
    """Rule 9: what is joint is certified as staying, until the last client is erased; the first
    certificate says even then what was so at its time."""
    practice, couple = house.practice, uuid4()
    practice.recorded(
        house.therapist,
        OpenRelationship(
            relationship=couple,
            clients=(house.client.person, house.other_client.person),
            therapists=(house.therapist.person,),
            constellation=Constellation.COUPLE,
            modality="systemic",
            setting="outpatient",
        ),
    )
    for client in (house.client, house.other_client):
        informing = GiveInformation(
            relationship=couple,
            document=practice.document,
            version=1,
            sha256=SHA256,
            to=client.person,
            by=house.therapist.person,
        )
        practice.recorded(house.therapist, informing)
    extents = []
    for person in (house.client.person, house.other_client.person):
        found = checked(erase(house, person), log_key(house).verifiers)
        extents.append({each.relationship: each.extent for each in found.affected}[couple])
    assert extents == [Extent.PART, Extent.WHOLE]
    again = checked(issued(house, house.client.person), log_key(house).verifiers)
    assert {each.relationship: each.extent for each in again.affected}[couple] is Extent.PART


# --- Copies ---------------------------------------------------------------------------------


def test_it_lists_the_copies_handed_out(house: House) -> None:
    """R9, R25: exports and disclosures, to whom and when; nobody near the subject is named, and
    nothing is told of which an authority asked that it be not."""
    practice, officer = house.practice, house.officer
    practice.shown(house.client, f"/relationships/{house.relationship}/export")
    practice.recorded(officer, disclose(house, RecipientKind.PROVIDER, "Dr. Nowak"))
    practice.recorded(officer, disclose(house, RecipientKind.FAMILY, "Anna Beispiel"))
    practice.recorded(officer, disclose(house, RecipientKind.LAW_ENFORCEMENT, "Police"))
    practice.recorded(
        officer,
        SuspendAccounting(
            relationship=house.relationship,
            recipient=RecipientKind.LAW_ENFORCEMENT,
            agency="Police",
            in_writing=True,
            until=practice.clinic.clock.now + timedelta(days=100),
        ),
    )
    text = erase(house, house.client.person)
    found = checked(text, log_key(house).verifiers)
    told = [(one.kind, one.recipient_kind, one.recipient) for one in found.copies]
    assert told == [
        ("export", None, None),
        ("disclosure", RecipientKind.PROVIDER, "Dr. Nowak"),
        ("disclosure", RecipientKind.FAMILY, None),
    ]
    assert found.copies[0].person == house.client.person
    assert "Police" not in text
    assert "Dr. Nowak" in as_text(found)
    practice.later(days=200)
    later = checked(issued(house, house.client.person), log_key(house).verifiers)
    assert [one.recipient for one in later.copies][-1] == "Police", "when it may be told"


# --- Nothing in it bends --------------------------------------------------------------------


def test_no_character_of_it_can_be_changed(house: House) -> None:
    """R3: every seventh character, replaced by its neighbour in the alphabet."""
    text = erase(house, house.client.person)
    keys = log_key(house).verifiers
    checked(text, keys)
    for at in range(0, len(text), 7):
        other = chr(ord(text[at]) ^ 1)
        with pytest.raises(CertificateBroken):
            checked(text[:at] + other + text[at + 1 :], keys)
    for other in (text + "\n", text[:-1], " " + text, "", "{}\n", "null\n", "[]\n"):
        with pytest.raises(CertificateBroken) as broken:
            checked(other, keys)
        assert broken.value.code == "malformed"


Forge = Callable[[dict[str, Any]], None]


def another_subject(document: dict[str, Any]) -> None:
    document["subject"] = str(uuid4())


def fewer_keys(document: dict[str, Any]) -> None:
    shown = document["destructions"][0]
    content = decode(shown["content"].encode())
    content["keys"] = content["keys"][1:]
    shown["content"] = encode(content).decode()


def another_extent(document: dict[str, Any]) -> None:
    document["destructions"][0]["affected"] = []


def another_leaf(document: dict[str, Any]) -> None:
    shown = document["destructions"][0]
    shown["leaf_input"] = shown["leaf_input"].replace('"source":"system"', '"source":"entered"')


def another_place(document: dict[str, Any]) -> None:
    shown = document["destructions"][0]
    shown["proof"] = re.sub("index [0-9]+", "index 0", shown["proof"])


def a_shorter_log(document: dict[str, Any]) -> None:
    document["proven"]["size"] = 1


@pytest.mark.parametrize(
    "forge, code",
    [
        (another_subject, "entry"),
        (fewer_keys, "entry"),
        (another_extent, "entry"),
        (a_shorter_log, "entry"),
        (another_leaf, "proof"),
        (another_place, "proof"),
    ],
)
def test_signed_anew_it_still_has_to_fit_the_log(house: House, forge: Forge, code: str) -> None:
    """R3: whoever holds the log's key cannot certify what no entry says."""
    key = log_key(house)
    document = json.loads(erase(house, house.client.person))["certificate"]
    forge(document)
    with pytest.raises(CertificateBroken) as broken:
        checked(signed(Certificate.model_validate(document), key.signer), key.verifiers)
    assert broken.value.code == code


def crafted(house: House, leaf: dict[str, Any], content: dict[str, Any]) -> Certificate:
    """A certificate whose entry was changed so, in a log of its own that the log's key signs."""
    found = certificate_of(house)
    (shown,) = found.destructions
    told = encode(decode(shown.content.encode()) | content)
    committed = commitment(bytes.fromhex(shown.salt), told).hex()
    envelope = encode(shown.envelope | {"position": 1, "commitment": committed} | leaf)
    root = leaf_hash(envelope)
    proof = TlogProof(0, (), str(log_key(house).sign(1, root)))
    changes = {"leaf_input": envelope.decode(), "content": told.decode(), "proof": str(proof)}
    return found.model_copy(update={"destructions": (shown.model_copy(update=changes),)})


@pytest.mark.parametrize(
    "leaf, content, code",
    [
        ({}, {}, None),
        ({"clinic": str(UUID(int=1))}, {}, "entry"),
        ({"stream": f"erasure-{UUID(int=1)}"}, {}, "entry"),
        ({"topic": "erasure.requested"}, {}, "entry"),
        ({"commitment": "00" * 32}, {}, "entry"),
        ({"position": 2}, {}, "proof"),
        ({}, {"person": str(UUID(int=1))}, "entry"),
        ({}, {"relationships": []}, "entry"),
        ({}, {"basis": "no reason"}, "entry"),
    ],
)
def test_a_log_made_up_for_it_does_not_help(
    house: House, leaf: dict[str, Any], content: dict[str, Any], code: str | None
) -> None:
    """R3: each thing that the entry says is compared, whatever the log's key signs."""
    key = log_key(house)
    text = signed(crafted(house, leaf, content), key.signer)
    if code is None:
        checked(text, key.verifiers)
        return
    with pytest.raises(CertificateBroken) as broken:
        checked(text, key.verifiers)
    assert broken.value.code == code


def test_the_checkpoint_is_the_logs_own(house: House) -> None:
    """R3: signed by a stranger in the log's name, or under another name, it proves nothing."""
    key, found = log_key(house), certificate_of(house)
    (shown,) = found.destructions
    proof = TlogProof.parse(shown.proof)
    for stranger in (NoteSigner(key.origin, bytes(32)), NoteSigner("example.org/log", bytes(32))):
        head = replace(shown.checkpoint, origin=stranger.verifier.name)
        posing = replace(proof, checkpoint=str(stranger.sign(head.body())))
        other = shown.model_copy(update={"proof": str(posing)})
        forged = found.model_copy(update={"destructions": (other,)})
        with pytest.raises(CertificateBroken) as broken:
            checked(signed(forged, key.signer), key.verifiers)
        assert broken.value.code == "proof"


def test_there_is_one_way_to_write_it(house: House) -> None:
    """R3: an id in capitals, or a field more, even where the log's key signs it."""
    key = log_key(house)
    document = json.loads(erase(house, house.client.person))["certificate"]
    for change in ({"subject": document["subject"].upper()}, {"remark": "x"}, {"format": "x"}):
        said = document | change
        text = f"{FORMAT}\n{key.origin}\n{sha256(encode(said)).hexdigest()}\n"
        file = encode({"certificate": said, "note": str(key.signer.sign(text))}).decode() + "\n"
        with pytest.raises(CertificateBroken) as broken:
            checked(file, key.verifiers)
        assert broken.value.code == "malformed"


def test_another_key_certifies_nothing(house: House) -> None:
    """R3: by a stranger's name, and by the log's own name on a stranger's signature."""
    key, stranger = log_key(house), NoteSigner("example.org/log", bytes(32))
    found = certificate_of(house)
    with pytest.raises(CertificateBroken) as broken:
        checked(signed(found, stranger), key.verifiers)
    assert broken.value.code == "unsigned"
    with pytest.raises(CertificateBroken) as broken:
        checked(signed(found, key.signer), [stranger.verifier])
    assert broken.value.code == "unsigned"
    posing = NoteSigner(key.origin, bytes(32))
    with pytest.raises(CertificateBroken) as broken:
        checked(signed(found, posing), key.verifiers)
    assert broken.value.code == "unsigned"


def test_an_independent_reader_agrees(house: House) -> None:
    """R3: without a line of ours: signatures by RFC 8032, the path by RFC 6962, the commitment by
    HMAC, as the format's page says."""
    file = json.loads(erase(house, house.client.person))
    public = b64decode(str(log_key(house).verifier).split("+", 2)[2])[1:]

    def signed_by_the_log(note: str) -> list[str]:
        text, _, line = note.rpartition("\n\n")
        signature = b64decode(line.split()[2])[4:]
        Ed25519PublicKey.from_public_bytes(public).verify(signature, f"{text}\n".encode())
        return text.split("\n")

    title, origin, digest = signed_by_the_log(file["note"])
    spelled = json.dumps(
        file["certificate"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert (title, digest) == (
        "rapport-erasure-certificate/1",
        sha256(spelled.encode()).hexdigest(),
    )
    (shown,) = file["certificate"]["destructions"]
    head, _, checkpoint = shown["proof"].partition("\n\n")
    index, path = int(head.split("\n")[1].split()[1]), head.split("\n")[2:]
    origin_of_log, size, root = signed_by_the_log(checkpoint)
    assert origin_of_log == origin

    def climbed(index: int, size: int, path: list[bytes]) -> bytes:
        """RFC 6962, 2.1.1, from the top: the sibling above everything else is the last."""
        if size == 1:
            return sha256(b"\0" + shown["leaf_input"].encode()).digest()
        split = 1 << (size - 1).bit_length() - 1
        *rest, sibling = path
        left, right = (
            (climbed(index, split, rest), sibling)
            if index < split
            else (sibling, climbed(index - split, size - split, rest))
        )
        return sha256(b"\1" + left + right).digest()

    assert climbed(index, int(size), list(map(b64decode, path))) == b64decode(root)
    leaf = json.loads(shown["leaf_input"])
    committed = b"rapport-commitment/1" + shown["content"].encode()
    mac = hmac.digest(bytes.fromhex(shown["salt"]), committed, "sha256")
    assert leaf["commitment"] == mac.hex()
    assert leaf["position"] == index + 1


def certificate_of(house: House) -> Certificate:
    return checked(erase(house, house.client.person), log_key(house).verifiers)


@contextmanager
def tampered(server: EmbeddedPostgres, house: House) -> Iterator[None]:
    """Meanwhile a byte of the first entry is another."""
    clinic = house.practice.clinic
    name = conninfo_to_dict(clinic.database.dsn("read"))["dbname"]
    flip = (
        "UPDATE rapport.entries SET ciphertext = set_byte(ciphertext, 20, "
        "get_byte(ciphertext, 20) # 1) WHERE clinic = %s AND position = 1"
    )
    with psycopg.connect(server.superuser_dsn(str(name)), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # past the triggers
        connection.execute(flip, (clinic.id,))
        yield
        connection.execute(flip, (clinic.id,))


def test_a_log_that_does_not_verify_is_not_erased_from(
    server: EmbeddedPostgres, house: House
) -> None:
    """Rule 9: a byte changed as superuser, and nothing is noted or destroyed."""
    clinic = house.practice.clinic
    size = clinic.log.head_size()
    with tampered(server, house), pytest.raises(LogBroken):
        erase(house, house.client.person)
    assert clinic.log.head_size() == size
    assert clinic.keyring.destroyed(clinic.id) == frozenset()
    erase(house, house.client.person)


# --- The page of the format -----------------------------------------------------------------


def test_the_worked_example_holds() -> None:
    """Docs are executed: the certificate on the format's page is checked with the key on it."""
    page = FORMAT_PAGE.read_text(encoding="utf-8")
    blocks = [block.strip("\n") for block in re.findall(r"((?:\n    \S[^\n]*)+)", page)]
    lines = [block.replace("    ", "", 1) for block in blocks if "\n" not in block]
    (key,) = (line for line in lines if line.startswith("rapport-record/log/"))
    (text,) = (line for line in lines if line.startswith('{"certificate":'))
    found = checked(text + "\n", [VerifierKey.parse(key)])
    assert len(found.destructions) == 1
    with pytest.raises(CertificateBroken):
        checked(text.replace("whole", "part") + "\n", [VerifierKey.parse(key)])
