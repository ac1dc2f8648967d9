from collections.abc import Callable

import pytest

from outpost.core.detect import checks

Case = tuple[Callable[[str], int], str, int]

CASES: dict[str, Case] = {
    "a Visa card passes": (checks.card, "4111" + "111111111111", 16),
    "a Visa card with a wrong check digit fails": (checks.card, "4111111111111112", 0),
    "an unknown issuer fails though Luhn holds": (checks.card, "1000000000000008", 0),
    "one digit over and over fails": (checks.card, "0000000000000000", 0),
    "an expiry date after a grouped card is cut off": (checks.card, "4111 1111 " + "1111 1111 12", 19),
    "a German IBAN passes": (checks.iban, "DE89" + "370400440532013000", 22),
    "a spaced IBAN before a word is cut to its country's length": (
        checks.iban,
        "DE89 3704 " + "0044 0532 0130 00 paid",
        27,
    ),
    "an IBAN that goes on without a gap fails": (checks.iban, "DE89" + "370400440532013000XY", 0),
    "an IBAN of no country fails": (checks.iban, "XX89370400440532013000", 0),
    "an IBAN with a wrong digit fails": (checks.iban, "DE88370400440532013000", 0),
    "a short IBAN fails": (checks.iban, "DE8937040044", 0),
    "an SSN passes": (checks.us_ssn, "536-" + "90-4399", 11),
    "area 666 fails": (checks.us_ssn, "666-12-3456", 0),
    "area 9xx fails": (checks.us_ssn, "900-12-3456", 0),
    "group 00 fails": (checks.us_ssn, "536-00-4399", 0),
    "serial 0000 fails": (checks.us_ssn, "536-90-0000", 0),
    "the wallet sample fails": (checks.us_ssn, "078-05-1120", 0),
    "a routing number passes": (checks.aba, "0210" + "00021", 9),
    "a routing number of no Federal Reserve district fails": (checks.aba, "990000009", 0),
    "an NPI passes": (checks.npi, "1234" + "567893", 10),
    "a DEA number passes": (checks.dea, "BB13" + "88568", 9),
    "a DEA number with a wrong digit fails": (checks.dea, "BB1388569", 0),
    "an address with four octets passes": (checks.ipv4, "41.173.96" + ".26", 12),
    "an octet above 255 fails": (checks.ipv4, "41.173.96.256", 0),
    "a leading zero fails": (checks.ipv4, "41.173.096.25", 0),
    "loopback is nobody's": (checks.ipv4, "127.0.0.1", 0),
    "an IPv6 address passes": (checks.ipv6, "2001:db8::" + "1", 11),
    "two gaps fail": (checks.ipv6, "2001::db8::1", 0),
    "a path of code fails": (checks.ipv6, "a::b", 0),
    "mixed separators are no MAC address": (checks.mac, "00:1a-2b:3c:4d:5e", 0),
    "a file name is no e-mail": (checks.email, "icon@2x.png", 0),
    "two dots in a row are no e-mail": (checks.email, "a..b@example.org", 0),
    "brackets that do not close are no phone": (checks.phone, "(780 999 2181", 0),
    "sixteen digits are no phone": (checks.phone, "1234567890123456", 0),
    "an area code below 2 is no North American phone": (checks.nanp, "123-456-7890", 0),
    "a sample token fails": (checks.random_token, "your_token_example1", 0),
    "a word is no token": (checks.random_token, "internationalisation", 0),
    "a word is no password": (checks.passphrase, "required", 0),
    "a dotted name is no password": (checks.passphrase, "self.password_hash", 0),
    "letters, digits and a sign are a password": (checks.passphrase, "hunter" + "2!9", 9),
}


@pytest.mark.parametrize(("check", "value", "accepted"), CASES.values(), ids=CASES)
def test_check(check: Callable[[str], int], value: str, accepted: int) -> None:
    assert check(value) == accepted


def test_entropy_counts_bits_per_character() -> None:
    assert checks.entropy("") == 0.0
    assert checks.entropy("aaaa") == 0.0
    assert checks.entropy("abcd") == 2.0


def test_a_random_token_may_hold_a_short_word_by_chance() -> None:
    assert checks.random_token("ghp" + "_cCnVxpQUbgzyGI6hOurMdaRg0O0nUllvKNjr")  # "nUll" behind a digit
    assert not checks.random_token("sk-1a2b3c4d-null")
    assert not checks.random_token("None")
