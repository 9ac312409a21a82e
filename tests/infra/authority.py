"""A timestamp authority on this machine: `openssl ts -reply` behind HTTP, with certificates made
for the test. It shares no code with what asks it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.infra.outside import Asked, Outsider, Reply, serving

TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
_CONFIGURATION = """
[tsa]
default_tsa = this
[this]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class Certified:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def certified(
    name: str, issuer: Certified | None = None, purpose: x509.ObjectIdentifier | None = None
) -> Certified:
    """A certificate for `name`, by itself or an issuer; one with a purpose issues nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    signing = issuer.key if issuer else key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(purpose is None, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    return Certified(builder.sign(signing, hashes.SHA256()), key)


@dataclass(frozen=True)
class LocalAuthority:
    """Signs times with `signer`, and sends the certificates between it and the root along."""

    folder: Path
    signer: Certified
    between: tuple[Certified, ...] = ()

    def reply(self, query: bytes) -> bytes:
        """What openssl makes of a query."""
        self.folder.mkdir(exist_ok=True)
        key = self.signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files = {
            "query": query,
            "signer": self.signer.pem,
            "between": b"".join(each.pem for each in self.between),
            "key": key,
            "serial": b"01\n",
            "configuration": _CONFIGURATION.format(folder=self.folder).encode(),
        }
        paths = {name: self.folder / name for name in files}
        for name, content in files.items():
            paths[name].write_bytes(content)
        chain = ["-chain", str(paths["between"])] if self.between else []
        done = subprocess.run(
            ["openssl", "ts", "-reply", "-config", paths["configuration"],
             "-queryfile", paths["query"], "-signer", paths["signer"], "-inkey", paths["key"],
             *chain],
            capture_output=True,
            check=True,
        )  # fmt: skip
        return done.stdout

    def answer(self, asked: Asked) -> Reply:
        assert asked.content_type == "application/timestamp-query"
        return Reply(200, self.reply(asked.body), "application/timestamp-reply")


@contextmanager
def authority(folder: Path) -> Iterator[tuple[Outsider, Path]]:
    """An honest authority over HTTP, and the file of its root."""
    root = certified("root of time")
    folder.mkdir()
    path = folder / "roots.pem"
    path.write_bytes(root.pem)
    local = LocalAuthority(folder, certified("time", root, TIME_STAMPING))
    with serving(local.answer) as outsider:
        yield outsider, path


def openssl_accepts(token: bytes, message: bytes, roots: Path, folder: Path) -> bool:
    """Whether OpenSSL finds that the token stamps the message under those roots."""
    (folder / "token.der").write_bytes(token)
    (folder / "message").write_bytes(message)
    done = subprocess.run(
        ["openssl", "ts", "-verify", "-data", folder / "message", "-in", folder / "token.der",
         "-token_in", "-CAfile", roots],
        capture_output=True,
        check=False,
    )  # fmt: skip
    return done.returncode == 0
