"""Arithmetic and grammar that a shape alone cannot express.

Every check takes the matched value (normalised text) and answers how many of its leading characters it accepts;
0 means no. A shape may therefore take more than the value (a spaced IBAN followed by a four-letter word) and let
the check cut it.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable

# Length by country, ISO 13616 registry release 99. A country that is not here is refused.
_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL SD FK",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK MN",
    21: "CH CR HR LI LV",
    22: "BG BH DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
IBAN_LENGTHS = {country: size for size, names in _IBAN_COUNTRIES.items() for country in names.split()}

# Issuer prefix and lengths, ISO/IEC 7812 as the networks publish it.
_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12,14}"  # Mastercard, 16 by length below
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]|65)\d{12,17}"  # Discover
    r"|35\d{14,17}|(?:1800|2131)\d{11}"  # JCB; 3528 to 3589 are issued, generators of test data use all of 35
    r"|62\d{14,17}|81\d{14,17}"  # UnionPay
    r"|3(?:0[0-59]|[689]\d)\d{11,16}"  # Diners Club
    r"|(?:50|5[6-9]|6[0-9])\d{10,17}"  # Maestro
)
_CARD_LENGTHS = {"2": (15, 16), "5": range(12, 20), "4": (13, 16, 19)}

_FILE_ENDINGS = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|ico|css|[jt]sx?|json|html?|xml|ya?ml|txt|pdf|zip|gz)\Z", re.I)
_NOT_ADDRESSES = ("git@", "hg@", "svn@")  # the login of a clone URL, not a person
_PLACEHOLDER_WORDS = re.compile(
    r"example|sample|placeholder|change[_-]?me|your[_-]|my[_-]?(?:pass|secret|token)|dummy|redacted"
    # Short words count where they stand alone: one random token in 400 holds one of them by chance.
    r"|(?:^|[^a-z0-9])(?:null|none|true|false|undefined|string|process\.env|os\.environ|getenv)(?![a-z0-9])"
    r"|x{4,}|\*{3,}|\.{3,}|<|\$\{|\{\{|%\(|password|passwd|secret_?key$",
    re.IGNORECASE,
)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 Annex B check digit."""
    total = sum(map(int, digits[-1::-2]))
    return (total + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])) % 10 == 0


def entropy(value: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values()) if size else 0.0


def _digits(value: str) -> str:
    return "".join(char for char in value if "0" <= char <= "9")


def _is_card(digits: str) -> bool:
    if len(set(digits)) < 2 or _CARD.fullmatch(digits) is None:
        return False
    return len(digits) in _CARD_LENGTHS.get(digits[0], range(12, 20)) and luhn(digits)


def card(value: str) -> int:
    """Issuer prefix, length and Luhn. Groups after the number (an expiry date) are cut off."""
    for end in range(len(value), 11, -1):
        whole_group = end == len(value) or value[end] in " -"
        if whole_group and value[end - 1] not in " -" and _is_card(_digits(value[:end])):
            return end
    return 0


def iban(value: str) -> int:
    """ISO 13616: country, its length, ISO 7064 mod 97-10 = 1. What follows the number is cut off."""
    want = IBAN_LENGTHS.get(value[:2].upper(), 0)
    places = [index for index, char in enumerate(value) if char not in " -"]
    if not want or len(places) < want:
        return 0
    end = places[want - 1] + 1
    if end < len(value) and value[end] not in " -":
        return 0
    kept = [value[index].upper() for index in places[:want]]
    number = "".join(str(int(char, 36)) for char in kept[4:] + kept[:4])
    return end if int(number) % 97 == 1 else 0


def us_ssn(value: str) -> int:
    """Area not 000, 666 or 9xx; group not 00; serial not 0000 (SSA, randomisation of 2011); no famous sample."""
    digits = _digits(value)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000" or len(set(digits)) == 1:
        return 0
    return 0 if digits in ("123456789", "078051120", "219099999") else len(value)


def aba(value: str) -> int:
    """US routing number: Federal Reserve prefix and the 3-7-1 checksum."""
    prefix = int(value[:2])
    if not (1 <= prefix <= 12 or 21 <= prefix <= 32 or 61 <= prefix <= 72 or prefix == 80):
        return 0
    return len(value) if sum(w * int(d) for w, d in zip((3, 7, 1) * 3, value, strict=True)) % 10 == 0 else 0


def npi(value: str) -> int:
    """US National Provider Identifier: Luhn over 80840 and the number (45 CFR 162.406)."""
    return len(value) if luhn("80840" + value) else 0


def dea(value: str) -> int:
    """US DEA registration number: last digit of (d1+d3+d5) + 2(d2+d4+d6)."""
    digits = [int(char) for char in value[2:]]
    return len(value) if (sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6] else 0


def email(value: str) -> int:
    """No file name such as icon@2x.png, no login of a clone URL, no empty label."""
    local = value.rpartition("@")[0]
    if value.lower().startswith(_NOT_ADDRESSES) or _FILE_ENDINGS.search(value):
        return 0
    return 0 if ".." in local or local.startswith(".") or local.endswith(".") else len(value)


def phone(value: str) -> int:
    """7 to 15 digits (ITU-T E.164), brackets that close, not one digit over and over."""
    digits = _digits(value)
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3:
        return 0
    return len(value) if value.count("(") == value.count(")") <= 1 else 0


def nanp(value: str) -> int:
    """North American number, at least ten digits: the area code begins with 2 to 9."""
    return phone(value) if _digits(value)[-10] >= "2" else 0


def ipv4(value: str) -> int:
    """Exactly four octets; loopback, unspecified and masks are nobody's address."""
    parts = value.split(".")
    if len(parts) != 4 or any(int(part) > 255 or (len(part) > 1 and part[0] == "0") for part in parts):
        return 0
    return 0 if parts[0] in ("0", "127", "255") else len(value)


def ipv6(value: str) -> int:
    """RFC 4291 text, at least two groups and one digit (``a::b`` is code)."""
    groups = [group for group in value.split(":") if group]
    if len(groups) < 2 or not any(char.isdigit() for char in value):
        return 0
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return 0
    return len(value)


def mac(value: str) -> int:
    """One separator throughout; not broadcast, not zero."""
    octets = set(value.lower().replace("-", ":").split(":"))
    return len(value) if value.count(value[2]) == 5 and octets not in ({"ff"}, {"00"}) else 0


def random_token(value: str) -> int:
    """Looks drawn, not written: letters and digits, no word that marks a sample."""
    body = value.strip("=")
    mixed = any(char.isdigit() for char in body) and any(char.isalpha() for char in body)
    return len(value) if mixed and entropy(body) >= 3.0 and not _PLACEHOLDER_WORDS.search(body) else 0


def hex_digits(value: str) -> int:
    """Hexadecimal that looks drawn at random: letters and digits, and none of them dominates."""
    mixed = any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
    return len(value) if mixed and entropy(value) >= 2.8 else 0


def passphrase(value: str) -> int:
    """At least two kinds of characters, one of them not a letter, and no word that stands for a password."""
    kinds = [any(map(kind, value)) for kind in (str.islower, str.isupper, str.isdigit, lambda char: not char.isalnum())]
    if sum(kinds) < 2 or not any(char.isalpha() for char in value) or _PLACEHOLDER_WORDS.search(value):
        return 0
    letters_only = all(char.isalpha() or char in "_-./:" for char in value)
    return 0 if letters_only or len(set(value)) < 4 else len(value)


def not_sample(value: str) -> int:
    """No word that marks a sample value."""
    return 0 if _PLACEHOLDER_WORDS.search(value) else len(value)


CHECKS: dict[str, Callable[[str], int]] = {
    "": len,
    "aba": aba,
    "card": card,
    "dea": dea,
    "email": email,
    "hex_digits": hex_digits,
    "iban": iban,
    "ipv4": ipv4,
    "ipv6": ipv6,
    "mac": mac,
    "nanp": nanp,
    "not_sample": not_sample,
    "npi": npi,
    "passphrase": passphrase,
    "phone": phone,
    "random_token": random_token,
    "us_ssn": us_ssn,
}
