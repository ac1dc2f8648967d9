"""Checkpoints as signed notes: write, sign, cosign, open. Formats of C2SP, so that any verifier can read
our log.

A note is text, a blank line and signature lines ``— <name> base64(key ID || signature)``. A checkpoint is
the note whose text says origin, tree size and root hash. The log signs that text with Ed25519 (type 0x01);
a witness signs the same text below a time (``cosignature/v1``, type 0x04). The type is part of the key ID,
so other algorithms fit in.

Notes are untrusted until ``open_checkpoint`` or ``open_cosigned`` returns. We are stricter than the texts
where that costs nothing: no extension lines, one way to write a number and base64.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from outpost.core.audit.merkle import HASH_BYTES, MAX_TREE_SIZE
from outpost.core.errors import StoreError

MAX_NOTE_BYTES = 16_384  # bytes; far above three lines and MAX_SIGNATURES lines of Ed25519
MAX_SIGNATURES = 16  # lines; C2SP signed-note: at least 16 must be accepted
MAX_NAME_BYTES = 255  # bytes of an origin or key name; C2SP tlog-cosignature: opaque log_origin<1..2^8-1>
MAX_TIME_SECONDS = 2**63 - 1  # C2SP tlog-cosignature
KEY_ID_BYTES = 4
PUBLIC_KEY_BYTES = 32  # Ed25519, RFC 8032
SIGNATURE_BYTES = 64  # Ed25519, RFC 8032

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_LINE = re.compile("— ([^ ]+) ([A-Za-z0-9+/=]+)")


class NoteError(StoreError):
    """Bytes are not a note or not a checkpoint."""

    code = "audit.note_invalid"


class NoteSignatureError(NoteError):
    """No signature of the expected key, or a wrong one."""

    code = "audit.note_signature"


class OriginError(NoteError):
    """The checkpoint is of another log."""

    code = "audit.note_origin"


class SignatureType(IntEnum):
    """The byte that tells algorithms apart inside a key ID."""

    ED25519 = 0x01
    COSIGNATURE_V1 = 0x04


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A public key with its name, as verifiers are configured.

    Attributes:
        name: key name; for a log its origin.
        public_key: 32 bytes of Ed25519.
        kind: what it signs.
    """

    name: str
    public_key: bytes
    kind: SignatureType = SignatureType.ED25519

    def __post_init__(self) -> None:
        """Refuse a name or key that no note can carry.

        Raises:
            NoteError: malformed name, or a key that is not 32 bytes long.
        """
        check_name(self.name)
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise NoteError("an Ed25519 public key has 32 bytes", field="public_key")

    @property
    def key_id(self) -> bytes:
        """Four bytes that name the key. Source: C2SP signed-note."""
        head = self.name.encode() + b"\n" + bytes([self.kind])
        return sha256(head + self.public_key).digest()[:KEY_ID_BYTES]

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check one signature.

        Raises:
            NoteSignatureError: it is not of this key over this message.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise NoteSignatureError(f"the signature of {self.name} does not verify", field=self.name) from error

    def to_text(self) -> str:
        """The key as one line, for configuration: ``name+key ID+base64``. Source: C2SP signed-note."""
        encoded = b64encode(bytes([self.kind]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """A private key behind a function, with the public half that matches."""

    verifier: NoteVerifier
    sign: Callable[[bytes], bytes]

    @classmethod
    def of_key(cls, name: str, key: Ed25519PrivateKey, kind: SignatureType = SignatureType.ED25519) -> "NoteSigner":
        """A signer over a key in memory."""
        return cls(NoteVerifier(name, key.public_key().public_bytes_raw(), kind), key.sign)


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line, unverified."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note split into its parts, unverified. ``text`` ends in a newline."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head.

    Attributes:
        origin: which log.
        size: leaves in the tree.
        root: 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def to_text(self) -> bytes:
        """The three lines that are signed. Source: C2SP tlog-checkpoint."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n".encode()


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose log signature has been verified; only ``open_checkpoint`` makes one.

    Attributes:
        checkpoint: what it says.
        text: the signed bytes.
        note: the whole note as received.
    """

    checkpoint: Checkpoint
    text: bytes
    note: bytes


@dataclass(frozen=True, slots=True)
class CosignedCheckpoint:
    """A checkpoint that the log signed and a witness cosigned; only ``open_cosigned`` makes one.

    Attributes:
        signed: the checkpoint.
        time_seconds: when the witness says that it cosigned, Unix time.
    """

    signed: SignedCheckpoint
    time_seconds: int


def check_name(name: str) -> None:
    """Refuse what cannot be an origin or a key name.

    Raises:
        NoteError: empty, too long, or with a space, a plus or a control character.
    """
    if not 1 <= len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES:
        raise NoteError(f"a name in a note has 1 to {MAX_NAME_BYTES} bytes", field="name")
    if any(character.isspace() or character == "+" or not character.isprintable() for character in name):
        raise NoteError("a name in a note has no spaces, plus signs or control characters", field="name")


def parse_verifier(text: str) -> NoteVerifier:
    """Read a public key from its one line.

    Raises:
        NoteError: malformed, an unknown type, or a key ID that does not fit the key.
    """
    parts = text.strip().split("+", 2)
    if len(parts) != 3:
        raise NoteError("a verifier key has the form name+key ID+base64", field="key")
    name, key_id, encoded = parts
    material = _decode_base64(encoded)
    if not material or material[0] not in list(SignatureType):
        raise NoteError("the verifier key is of an unknown type", field="key")
    verifier = NoteVerifier(name, material[1:], SignatureType(material[0]))
    if verifier.key_id.hex() != key_id:
        raise NoteError("the key ID does not fit the key", field="key")
    return verifier


def parse_note(data: bytes) -> Note:
    """Split untrusted bytes into text and signatures.

    Raises:
        NoteError: not UTF-8, control characters, too long, no signature, or a malformed line.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(f"the note is longer than {MAX_NOTE_BYTES} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("the note is not UTF-8") from error
    if any(character < " " and character != "\n" for character in whole):
        raise NoteError("the note contains a control character")
    text, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise NoteError("the note has no signature lines")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"the note has more than {MAX_SIGNATURES} signatures")
    return Note((text + "\n").encode(), tuple(_parse_signature(line) for line in lines))


def _parse_signature(line: str) -> NoteSignature:
    match = _LINE.fullmatch(line)
    if match is None:
        raise NoteError("a signature line of the note is malformed")
    check_name(match[1])
    material = _decode_base64(match[2])
    if len(material) <= KEY_ID_BYTES:
        raise NoteError("a signature of the note is too short")
    return NoteSignature(match[1], material[:KEY_ID_BYTES], material[KEY_ID_BYTES:])


def _decode_base64(text: str) -> bytes:
    try:
        decoded = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise NoteError("the note contains malformed base64") from error
    if b64encode(decoded).decode() != text:  # padding bits must be zero, so that bytes have one spelling
        raise NoteError("the note contains base64 that is not canonical")
    return decoded


def _format_signature(verifier: NoteVerifier, signature: bytes) -> bytes:
    return f"— {verifier.name} {b64encode(verifier.key_id + signature).decode()}\n".encode()


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Read the text of a note as a tree head.

    Raises:
        NoteError: not exactly origin, size and root, each in its one form.
    """
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise NoteError("the checkpoint is not UTF-8") from error
    if len(lines) != 4 or lines[3]:
        raise NoteError("a checkpoint has three lines: origin, tree size, root hash")
    origin, size, root = lines[:3]
    check_name(origin)
    if _SIZE.fullmatch(size) is None or int(size) > MAX_TREE_SIZE:
        raise NoteError("the tree size of the checkpoint is malformed", field="size")
    decoded = _decode_base64(root)
    if len(decoded) != HASH_BYTES:
        raise NoteError("the root hash of the checkpoint is not 32 bytes long", field="root")
    return Checkpoint(origin, int(size), decoded)


def sign_checkpoint(checkpoint: Checkpoint, log: NoteSigner) -> bytes:
    """Sign a tree head. The caller answers for its being consistent with every one signed before."""
    text = checkpoint.to_text()
    return text + b"\n" + _format_signature(log.verifier, log.sign(text))


def open_checkpoint(data: bytes, log: NoteVerifier) -> SignedCheckpoint:
    """Verify untrusted bytes as a checkpoint of this log. Signatures of unknown keys are ignored.

    Raises:
        OriginError: the checkpoint of another log.
        NoteSignatureError: not signed by the log's key.
        NoteError: not a checkpoint at all.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != log.name:
        raise OriginError(f"the checkpoint is of another log than {log.name}", field="origin")
    for line in _signatures_of(note, log):
        log.verify(line.signature, note.text)
    return SignedCheckpoint(checkpoint, note.text, data)


def _signatures_of(note: Note, key: NoteVerifier) -> list[NoteSignature]:
    """Lines that claim to be of this key, at least one."""
    key_id = key.key_id
    lines = [line for line in note.signatures if line.name == key.name and line.key_id == key_id]
    if not lines:
        raise NoteSignatureError(f"the checkpoint is not signed by the expected key of {key.name}", field=key.name)
    return lines


def cosignature_message(text: bytes, time_seconds: int) -> bytes:
    """What a witness signs: header, time, then the text of the checkpoint. Source: C2SP tlog-cosignature.

    Raises:
        NoteError: a time that the format cannot hold.
    """
    if not 0 <= time_seconds <= MAX_TIME_SECONDS:
        raise NoteError("the time of a cosignature is out of range", field="time")
    return b"cosignature/v1\ntime %d\n" % time_seconds + text


def cosign(signed: SignedCheckpoint, witness: NoteSigner, time_seconds: int) -> bytes:
    """The signature line of a witness over a verified checkpoint, with its newline."""
    signature = witness.sign(cosignature_message(signed.text, time_seconds))
    return _format_signature(witness.verifier, time_seconds.to_bytes(8, "big") + signature)


def open_cosigned(data: bytes, log: NoteVerifier, witness: NoteVerifier) -> CosignedCheckpoint:
    """Verify untrusted bytes as a checkpoint that the log signed and the witness cosigned.

    Raises:
        OriginError: the checkpoint of another log.
        NoteSignatureError: a signature is missing or wrong.
        NoteError: not a checkpoint at all.
    """
    signed = open_checkpoint(data, log)
    time_seconds = 0
    for line in _signatures_of(parse_note(data), witness):
        if len(line.signature) != 8 + SIGNATURE_BYTES:
            raise NoteSignatureError("a cosignature has 72 bytes", field=witness.name)
        time_seconds = int.from_bytes(line.signature[:8], "big")
        witness.verify(line.signature[8:], cosignature_message(signed.text, time_seconds))
    return CosignedCheckpoint(signed, time_seconds)
