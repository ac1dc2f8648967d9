"""Signed notes and checkpoints: the public example, round trips, and everything malformed."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from outpost.core.audit import note
from outpost.core.audit.note import (
    Checkpoint,
    NoteError,
    NoteSignatureError,
    NoteSigner,
    NoteVerifier,
    OriginError,
    SignatureType,
)

ORIGIN = "outpost.internal/org/acme/outpost/op-0123456789abcdef"
LOG = NoteSigner.of_key(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = NoteSigner.of_key(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
WITNESS = NoteSigner.of_key(
    "outpost.internal/witness", Ed25519PrivateKey.from_private_bytes(b"w" * 32), SignatureType.COSIGNATURE_V1
)
HEAD = Checkpoint(ORIGIN, 300, bytes(range(32)))
SIGNED = note.sign_checkpoint(HEAD, LOG)
COSIGNED = SIGNED + note.cosign(note.open_checkpoint(SIGNED, LOG.verifier), WITNESS, 1_700_000_000)


def test_the_example_of_the_go_library_verifies() -> None:
    # golang.org/x/mod/sumdb/note, package documentation.
    key = note.parse_verifier("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    example = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    parsed = note.parse_note(example.encode())
    assert parsed.signatures[0].key_id == key.key_id
    key.verify(parsed.signatures[0].signature, parsed.text)


def test_the_example_of_the_specification_parses() -> None:
    # C2SP tlog-cosignature, the cosigned checkpoint.
    example = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 "
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    parsed = note.parse_note(example.encode())
    head = note.parse_checkpoint(parsed.text)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20852163)
    assert int.from_bytes(parsed.signatures[1].signature[:8], "big") == 1679315147
    assert head.to_text() == parsed.text


def test_a_checkpoint_opens_with_its_key_only() -> None:
    opened = note.open_checkpoint(SIGNED, LOG.verifier)
    assert opened.checkpoint == HEAD
    assert opened.note == SIGNED
    with pytest.raises(NoteSignatureError):
        note.open_checkpoint(SIGNED, OTHER.verifier)
    with pytest.raises(OriginError):
        note.open_checkpoint(SIGNED, NoteVerifier("other.example/log", LOG.verifier.public_key))


def test_a_cosignature_binds_the_time_and_the_witness() -> None:
    assert note.open_cosigned(COSIGNED, LOG.verifier, WITNESS.verifier).time_seconds == 1_700_000_000
    with pytest.raises(NoteSignatureError):
        note.open_cosigned(SIGNED, LOG.verifier, WITNESS.verifier)
    stranger = NoteSigner.of_key(WITNESS.verifier.name, Ed25519PrivateKey.generate(), SignatureType.COSIGNATURE_V1)
    with pytest.raises(NoteSignatureError):
        note.open_cosigned(COSIGNED, LOG.verifier, stranger.verifier)


def test_the_cosigned_message_is_the_one_of_the_specification() -> None:
    assert note.cosignature_message(HEAD.to_text(), 1679315147) == b"cosignature/v1\ntime 1679315147\n" + HEAD.to_text()


def test_a_key_signs_only_as_the_type_that_it_is_configured_for() -> None:
    as_log = NoteVerifier(WITNESS.verifier.name, WITNESS.verifier.public_key, SignatureType.ED25519)
    assert as_log.key_id != WITNESS.verifier.key_id
    with pytest.raises(NoteSignatureError):
        note.open_cosigned(COSIGNED, LOG.verifier, as_log)


def test_signatures_of_unknown_keys_are_ignored_even_under_our_name() -> None:
    stranger = note.sign_checkpoint(HEAD, OTHER).rpartition(b"\n\n")[2]
    assert note.open_checkpoint(SIGNED + stranger, LOG.verifier).checkpoint == HEAD


def test_one_wrong_signature_of_our_key_spoils_the_note() -> None:
    forged = LOG.verifier.key_id + bytes(64)
    line = f"— {ORIGIN} {b64encode(forged).decode()}\n".encode()
    with pytest.raises(NoteSignatureError):
        note.open_checkpoint(SIGNED + line, LOG.verifier)


@pytest.mark.parametrize("at", range(len(SIGNED)))
def test_no_byte_of_a_checkpoint_can_be_flipped(at: int) -> None:
    flipped = bytearray(SIGNED)
    flipped[at] ^= 1
    with pytest.raises(NoteError):
        note.open_checkpoint(bytes(flipped), LOG.verifier)


def test_no_byte_of_a_cosignature_can_be_flipped() -> None:
    for at in range(len(SIGNED), len(COSIGNED)):
        flipped = bytearray(COSIGNED)
        flipped[at] ^= 1
        with pytest.raises(NoteError):
            note.open_cosigned(bytes(flipped), LOG.verifier, WITNESS.verifier)


def resigned(text: bytes) -> bytes:
    """A malformed checkpoint with a good signature: only its form can be its fault."""
    line = f"— {ORIGIN} {b64encode(LOG.verifier.key_id + LOG.sign(text)).decode()}\n"
    return text + b"\n" + line.encode()


ROOT = b64encode(HEAD.root).decode()
MALFORMED = {
    "an extension line": f"{ORIGIN}\n300\n{ROOT}\nextra\n",
    "no root": f"{ORIGIN}\n300\n",
    "a leading zero": f"{ORIGIN}\n0300\n{ROOT}\n",
    "a plus sign": f"{ORIGIN}\n+300\n{ROOT}\n",
    "a size with other digits": f"{ORIGIN}\n٣\n{ROOT}\n",
    "a size beyond 62 bits": f"{ORIGIN}\n{2**62 + 1}\n{ROOT}\n",
    "a root of 31 bytes": f"{ORIGIN}\n300\n{b64encode(bytes(31)).decode()}\n",
    "a root without padding": f"{ORIGIN}\n300\n{ROOT.rstrip('=')}\n",
    "a root with stray bits": f"{ORIGIN}\n300\n{ROOT[:-2]}9=\n",
    "a root with a space": f"{ORIGIN}\n300\n {ROOT}\n",
    "an empty origin": f"\n300\n{ROOT}\n",
    "an origin with a space": f"a b\n300\n{ROOT}\n",
    "an origin of 256 bytes": f"{'a' * 256}\n300\n{ROOT}\n",
    "a tab": f"{ORIGIN}\n300\t\n{ROOT}\n",
    "a carriage return": f"{ORIGIN}\r\n300\r\n{ROOT}\r\n",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_well_signed_but_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        note.open_checkpoint(resigned(text.encode()), LOG.verifier)


BAD_NOTES = {
    "empty": b"",
    "no signature": HEAD.to_text(),
    "no blank line": HEAD.to_text() + b"- x y\n",
    "a hyphen instead of a dash": SIGNED.replace("—".encode(), b"-"),
    "no last line break": SIGNED[:-1],
    "not UTF-8": SIGNED + b"\xff\n",
    "seventeen signatures": SIGNED + SIGNED.rpartition(b"\n\n")[2] * 16,
    "too long": SIGNED + b"a" * note.MAX_NOTE_BYTES,
    "a signature of four bytes": HEAD.to_text() + f"\n— {ORIGIN} AAAAAA==\n".encode(),
}


@pytest.mark.parametrize("data", BAD_NOTES.values(), ids=BAD_NOTES)
def test_bytes_that_are_no_note_are_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        note.open_checkpoint(data, LOG.verifier)


def test_sixteen_signatures_are_accepted() -> None:
    assert note.open_checkpoint(SIGNED + SIGNED.rpartition(b"\n\n")[2] * 15, LOG.verifier).checkpoint == HEAD


def test_keys_round_trip_as_one_line_and_malformed_ones_are_refused() -> None:
    for key in (LOG.verifier, WITNESS.verifier):
        assert note.parse_verifier(key.to_text()) == key
    text = LOG.verifier.to_text()
    for bad in (
        "",
        "a+b",
        text.replace("+", "-"),
        text[:-4],
        text.replace(ORIGIN, ORIGIN + "x"),
        "a+00000000+/////w==",
    ):
        with pytest.raises(NoteError):
            note.parse_verifier(bad)


def test_a_time_that_the_format_cannot_hold_is_refused() -> None:
    for time in (-1, 2**63):
        with pytest.raises(NoteError):
            note.cosignature_message(HEAD.to_text(), time)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(NoteError):
        NoteVerifier(ORIGIN, bytes(31))
