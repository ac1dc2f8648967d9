"""Spellings of an identity that are none, or another's, each signed by our own issuing CA."""

from certs.errors import ChainError
from certs.verify import ChainFormatError, ChainNameError
from tests.unit.certs.forge import OUTPOST
from tests.unit.certs.surgery import URI_NAME, element
from tests.unit.certs.world import Shown, raw_leaf

HERE = "spiffe://outpost.internal"
PATH = f"/org/acme/outpost/{OUTPOST}"

# Sentence: the text of the one URI, as bytes of an IA5String.
SPELLINGS: dict[str, bytes] = {
    "of another trust domain": f"spiffe://elsewhere.example{PATH}".encode(),
    "of a child of the trust domain": f"spiffe://a.outpost.internal{PATH}".encode(),
    "of the parent of the trust domain": f"spiffe://internal{PATH}".encode(),
    "of a trust domain that ends like ours": f"spiffe://evil-outpost.internal{PATH}".encode(),
    "of a trust domain that starts like ours": f"spiffe://outpost.internal.example{PATH}".encode(),
    "with the trust domain in upper case": f"spiffe://OUTPOST.internal{PATH}".encode(),
    "with a dot behind the trust domain": f"spiffe://outpost.internal.{PATH}".encode(),
    "with a dot before the trust domain": f"spiffe://.outpost.internal{PATH}".encode(),
    "with an address as host": f"spiffe://127.0.0.1{PATH}".encode(),
    "with an IPv6 address as host": f"spiffe://[::1]{PATH}".encode(),
    "with user information": f"spiffe://outpost.internal@elsewhere.example{PATH}".encode(),
    "with user information before our host": f"spiffe://evil@outpost.internal{PATH}".encode(),
    "with a port": f"spiffe://outpost.internal:443{PATH}".encode(),
    "with an empty port": f"spiffe://outpost.internal:{PATH}".encode(),
    "with an empty host": f"spiffe://{PATH}".encode(),
    "without authority": f"spiffe:{PATH}".encode(),
    "with a wildcard": f"spiffe://*.internal{PATH}".encode(),
    "with another scheme": f"https://outpost.internal{PATH}".encode(),
    "with the scheme in upper case": f"SPIFFE://outpost.internal{PATH}".encode(),
    "that is empty": b"",
    "without a path": HERE.encode(),
    "with a slash at the end": f"{HERE}{PATH}/".encode(),
    "with a double slash": f"{HERE}//org/acme/outpost/{OUTPOST}".encode(),
    "with a dot segment": f"{HERE}/./org/acme/outpost/{OUTPOST}".encode(),
    "that climbs to another org": f"{HERE}/org/acme/../evil/outpost/{OUTPOST}".encode(),
    "with an escaped dot": f"{HERE}/%2e/org/acme/outpost/{OUTPOST}".encode(),
    "with an escaped slash": f"{HERE}/org/acme%2Foutpost/{OUTPOST}".encode(),
    "with an escaped letter": f"{HERE}/org/%61cme/outpost/{OUTPOST}".encode(),
    "with an escaped trust domain": f"spiffe://outpost%2einternal{PATH}".encode(),
    "with the org in upper case": f"{HERE}/org/ACME/outpost/{OUTPOST}".encode(),
    "with the word org in upper case": f"{HERE}/ORG/acme/outpost/{OUTPOST}".encode(),
    "with the id in upper case": f"{HERE}/org/acme/outpost/{OUTPOST.upper()}".encode(),
    "with a longer id": f"{HERE}{PATH}0".encode(),
    "with a shorter id": f"{HERE}{PATH}"[:-1].encode(),
    "with more behind the id": f"{HERE}{PATH}/admin".encode(),
    "without an org": f"{HERE}/outpost/{OUTPOST}".encode(),
    "with an empty org": f"{HERE}/org//outpost/{OUTPOST}".encode(),
    "with two orgs": f"{HERE}/org/acme/org/evil/outpost/{OUTPOST}".encode(),
    "with a query": f"{HERE}{PATH}?org=evil".encode(),
    "with a fragment": f"{HERE}{PATH}#evil".encode(),
    "with a backslash": f"{HERE}{PATH}".replace("/org", "\\org").encode(),
    "with a blank before it": f" {HERE}{PATH}".encode(),
    "with a line feed behind it": f"{HERE}{PATH}\n".encode(),
    "with a NUL behind it": f"{HERE}{PATH}\0".encode(),
    "with a NUL and more behind it": f"{HERE}{PATH}\0.elsewhere.example".encode(),
    "with a NUL in the host": f"spiffe://outpost.internal\0.elsewhere.example{PATH}".encode(),
    "with a NUL in the org": f"{HERE}/org/acme\0/outpost/{OUTPOST}".encode(),
    "with look-alike letters": f"{HERE}/org/\u0430cme/outpost/{OUTPOST}".encode(),
    "with bytes that are no text": HERE.encode() + b"/org/\xff\xfe/outpost/" + OUTPOST.encode(),
    "that names a server": f"{HERE}/server".encode(),
    "that names an ingress": f"{HERE}/ingress/edge-1".encode(),
    "that is longer than any": f"{HERE}/org/{'a' * 2048}/outpost/{OUTPOST}".encode(),
}


def _shown(sentence: str, text: bytes) -> Shown:
    error: type[ChainError] = ChainFormatError if b"\xff" in text else ChainNameError
    return Shown(raw_leaf(lambda body: body.names(element(URI_NAME, text))), error)


URIS = {f"a leaf with a URI {sentence}": _shown(sentence, text) for sentence, text in SPELLINGS.items()}
