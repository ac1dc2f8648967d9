"""Detectors for keys and tokens whose issuer marked them, and for private keys."""

from outpost.core.detect.rules_base import Rule
from outpost.core.detect.shape import parse, width

_URL64 = "A-Za-z0-9_-"
_PEM_LABEL = r"[ A-Z0-9]{0,32}PRIVATE KEY(?: BLOCK)?"
_PEM_HEADERS = r"(?:[\s\\nr]{0,6}(?:Proc-Type|DEK-Info|Version|Comment|Charset): ?[^\r\n\\]{0,100}){0,4}"
# Most body characters of a private key block: an RSA 16384 key in PKCS#8 has 12.6 kB of Base64.
PEM_BODY_CHARS = 16_384
_PEM_BODY = r"[A-Za-z0-9+/=\s\\]"


def _token(name: str, prefix: str, body: str, entity_type: str = "api_key", **more: str) -> Rule:
    """Build the rule of a token that is a marked prefix and a body of random characters.

    Args:
        name: rule id.
        prefix: pattern of the mark, valid for Vectorscan and for ``shape``.
        body: pattern of the rest.
        entity_type: as policies call it.
        more: ``positive`` and ``negative`` texts, ``check``, ``after``.
    """
    return Rule(
        id=name,
        entity_type=entity_type,
        pattern=prefix,
        confirm=prefix + body,
        reach=width(parse(prefix)),
        before=r"[A-Za-z0-9]",
        after=more.get("after", rf"[{_URL64}]"),
        check=more.get("check", "random_token"),
        confidence=95,
        positives=(more["positive"],),
        negatives=(more["negative"],) if "negative" in more else (),
    )


_HEX40 = "3f8a01c2d4" + "e5b6978890a1b2c3d4e5f60718"
_MIX = "aB3dE5gH7jK9mN1pQ2sT4" + "vW6xY8zA0cD2eF4gH6iJ8kL1mN3oP5qR7sT9uV1wX3yZ5"

CLOUD: tuple[Rule, ...] = (
    Rule(
        id="aws-access-key",
        entity_type="aws_access_key",
        pattern=r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
        confirm=r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
        reach=20,
        before=r"[A-Za-z0-9]",
        entropy=2.5,
        confidence=95,
        positives=("key AKIA" + "QYLPMN5HHHFPZAM2", "AKIA" + "IOSFODNN7EXAMPLE"),
        negatives=("AKIA", "AKIAXXXXXXXXXXXXXXXX"),
    ),
    Rule(
        id="aws-secret-key",
        entity_type="aws_secret_key",
        pattern=r"(?:secret_?access_?key|aws_?secret|secretkey)",
        confirm=r"(?:secret_?access_?key|aws_?secret(?:_?key)?|secretkey)[\"']?\s{0,3}(?:=|:|=>|is)\s{0,3}[\"']?(?P<value>[A-Za-z0-9/+]{40})",
        reach=20,
        before="",
        after=r"[A-Za-z0-9/+=]",
        caseless=True,
        entropy=3.5,
        confidence=95,
        positives=(
            '"SecretAccessKey": "wJalrXUtnFEMI/K7' + 'MDENG/bPxRfiCYzzzzzzzKEY"',
            "aws_secret_access_key = " + _MIX[:40],
        ),
        negatives=("secret_access_key = " + "a" * 40,),
    ),
    _token("github-token", r"gh[pousr]_", r"[A-Za-z0-9]{36,255}", positive="ghp_" + _MIX[:36], negative="ghp_short"),
    _token(
        "github-fine-grained-token",
        r"github_pat_",
        r"[A-Za-z0-9_]{22,255}",
        positive="github_pat_" + _MIX[:22] + "_" + _MIX[:59],
    ),
    _token(
        "gitlab-token",
        r"gl(?:pat|dt|rt|ptt|cbt|ft|oas|soat|imt|agent)-",
        r"[A-Za-z0-9_.\-]{20,100}",
        positive="glpat-" + _MIX[:20],
        negative="glpat-x",
    ),
    _token(
        "openai-key",
        r"sk-(?:proj|svcacct|admin|None)-",
        rf"[{_URL64}]{{20,220}}",
        positive="OPENAI_API_KEY=sk-" + "proj-" + _MIX[:48],
        negative="sk-proj-example",
    ),
    _token(
        "openai-legacy-key", r"sk-", r"[A-Za-z0-9]{32,64}", positive="sk-" + _MIX[:48], negative="task-" + "a1" * 20
    ),
    _token(
        "anthropic-key",
        r"sk-ant-",
        rf"[{_URL64}]{{24,220}}",
        positive="sk-" + "ant-api03-" + _MIX[:50],
        negative="sk-ant-api03-xxxx",
    ),
    _token("google-api-key", r"AIza", rf"[{_URL64}]{{35}}", positive="AIza" + "Sy" + _MIX[:33], negative="AIzaShort"),
    _token("google-oauth-secret", r"GOCSPX-", rf"[{_URL64}]{{28}}", positive="GOCSPX-" + _MIX[:28]),
    Rule(
        id="gcp-service-account",
        entity_type="private_key",
        pattern=r"private_key_id",
        confirm=r"private_key_id\\?[\"']\s{0,3}:\s{0,3}\\?[\"'](?P<value>[0-9a-f]{40})",
        reach=14,
        before="",
        check="hex_digits",
        confidence=95,
        positives=('{"private_key_id": "' + _HEX40 + '00aa"}',),
        negatives=('{"private_key_id": ""}',),
    ),
    _token("slack-token", r"xox[abeoprs]-", r"[A-Za-z0-9\-]{10,250}", positive="xoxb-" + "123456789012-" + _MIX[:24]),
    _token("slack-app-token", r"xapp-", r"\d-[A-Za-z0-9\-]{20,250}", positive="xapp-" + "1-A0123456789-" + _MIX[:30]),
    _token(
        "slack-webhook",
        r"hooks\.slack\.com/",
        r"(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,80}",
        positive="https://hooks.slack" + ".com/services/T01ABCDEF/B01ABCDEF/" + _MIX[:24],
    ),
    _token("stripe-key", r"[sr]k_(?:live|test|prod)_", r"[A-Za-z0-9]{16,247}", positive="sk_" + "live_" + _MIX[:24]),
    _token("stripe-webhook-secret", r"whsec_", r"[A-Za-z0-9+/=]{24,80}", positive="whsec_" + _MIX[:32]),
    _token("npm-token", r"npm_", r"[A-Za-z0-9]{36}", positive="npm_" + _MIX[:36], negative="npm_config_registry"),
    _token("pypi-token", r"pypi-AgEI", rf"[{_URL64}]{{50,1000}}", positive="pypi-" + "AgEIcHlwaS5vcmc" + _MIX[:60]),
    _token(
        "sendgrid-key", r"SG\.", rf"[{_URL64}]{{22}}\.[{_URL64}]{{43}}", positive="SG." + _MIX[:22] + "." + _MIX[:43]
    ),
    _token("huggingface-token", r"hf_", r"[A-Za-z0-9]{34}", positive="hf_" + _MIX[:34]),
    _token(
        "digitalocean-token",
        r"do[opr]_v1_",
        r"[a-f0-9]{64}",
        check="hex_digits",
        positive="dop_v1_" + (_HEX40[:32] * 2),
    ),
    _token(
        "shopify-token", r"shp(?:at|ca|pa|ss)_", r"[a-fA-F0-9]{32}", check="hex_digits", positive="shpat_" + _HEX40[:32]
    ),
    _token(
        "databricks-token", r"dapi", r"[a-f0-9]{32}(?:-\d{1,2})?", check="hex_digits", positive="dapi" + _HEX40[:32]
    ),
    _token("twilio-key", r"SK[0-9a-f]{32}", r"", check="hex_digits", positive="SK" + _HEX40[:32], negative="SKU 12345"),
    _token("telegram-bot-token", r"[0-9]{8,10}:AA", rf"[{_URL64}]{{33}}", positive="1234567890" + ":AA" + _MIX[:33]),
    _token("vault-token", r"hv[sbr]\.", rf"[{_URL64}]{{24,300}}", positive="hvs." + _MIX[:40], negative="hvs.xxxxxxxx"),
    _token(
        "grafana-service-token",
        r"glsa_",
        r"[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}",
        positive="glsa_" + _MIX[:32] + "_48" + "6f63e1",
    ),
    _token("grafana-cloud-token", r"glc_", r"[A-Za-z0-9+/={}]{32,400}", positive="glc_" + _MIX[:40]),
    _token(
        "notion-token", r"ntn_", r"\d{11}[A-Za-z0-9]{35}", positive="ntn_" + "45647615172" + _MIX[:35], after=r"[\w]"
    ),
    _token("sentry-token", r"sntrys_eyJ", r"[A-Za-z0-9=_+/\-]{60,500}", positive="sntrys_" + "eyJ" + _MIX[:60]),
    _token(
        "sourcegraph-token",
        r"sgp_",
        r"(?:(?:[a-fA-F0-9]{16}|local)_)?[a-fA-F0-9]{40}",
        check="hex_digits",
        positive="sgp_" + _HEX40 + "00aa",
    ),
    _token(
        "onepassword-service-token",
        r"ops_eyJ",
        r"[A-Za-z0-9+/]{64,2000}={0,3}",
        positive="ops_" + "eyJ" + _MIX + _MIX[:20],
    ),
    _token(
        "onepassword-secret-key",
        r"A3-[A-Z0-9]{6}-",
        r"(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}",
        positive="A3-ASWW" + "YB-798JRYLJVD4-23DC2-86TVM-H43EB",
    ),
    _token("octopus-key", r"API-[A-Z0-9]{26}", r"", positive="API-ZNRMR7SL6L3A" + "TMOIK7GKJDKLPY"),
    _token("infracost-key", r"ico-", r"[A-Za-z0-9]{32}", positive="ico-" + _MIX[:32]),
    Rule(
        id="azure-storage-key",
        entity_type="azure_storage_key",
        pattern=r"AccountKey=",
        confirm=r"AccountKey=(?P<value>[A-Za-z0-9+/]{86}==)",
        reach=11,
        before="",
        after="",
        entropy=3.5,
        confidence=99,
        positives=("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + (_MIX + _MIX)[:86] + "==;",),
        negatives=("AccountKey=<key>",),
    ),
    Rule(
        id="azure-sas",
        entity_type="azure_sas",
        pattern=r"[?&]sig=",
        confirm=r"[?&]sig=(?P<value>[A-Za-z0-9%+/=\-_]{40,120})",
        reach=5,
        before="",
        after=r"[A-Za-z0-9%]",
        entropy=3.5,
        confidence=90,
        positives=("https://a.blob.core.windows.net/c?sv=2024-01-01&sig=" + _MIX[:43] + "%3D&se=2026",),
        negatives=("?sig=short",),
    ),
    Rule(
        id="jwt",
        entity_type="jwt",
        pattern=rf"eyJ[{_URL64}]{{8}}",
        # Three parts of RFC 7515; the bounds hold a token of the 8 kB that servers take as a header.
        confirm=rf"eyJ[{_URL64}]{{8,2000}}\.eyJ[{_URL64}]{{6,6000}}\.[{_URL64}]{{0,1400}}",
        reach=11,
        before=r"[A-Za-z0-9]",
        after=rf"[{_URL64}]",
        entropy=3.0,
        confidence=97,
        positives=("eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + _MIX[:43],),
        negatives=("eyJhbGciOiJIUzI1NiJ9 alone", "eyJ.eyJ."),
    ),
    Rule(
        id="private-key",
        entity_type="private_key",
        pattern=r"-----BEGIN[ A-Z0-9]{0,32}PRIVATE KEY",
        confirm=rf"-----BEGIN{_PEM_LABEL}-----{_PEM_HEADERS}{_PEM_BODY}{{40,{PEM_BODY_CHARS}}}(?:-----END{_PEM_LABEL}-----)?",
        reach=56,
        before="",
        after="",
        confidence=99,
        positives=(
            "-----BEGIN RSA PRIV" + "ATE KEY-----\n" + _MIX + "\n" + _MIX + "\n-----END RSA PRIV" + "ATE KEY-----",
            "-----BEGIN PRIV" + "ATE KEY-----\\n" + _MIX + "\\n" + _MIX,
        ),
        negatives=("-----BEGIN PRIV" + "ATE KEY-----", "-----BEGIN CERTIFICATE-----\n" + _MIX),
    ),
    Rule(
        id="private-key-unbounded",
        entity_type="unbounded_candidate",
        pattern=r"-----BEGIN[ A-Z0-9]{0,32}PRIVATE KEY",
        confirm=rf"-----BEGIN{_PEM_LABEL}-----{_PEM_HEADERS}{_PEM_BODY}{{{PEM_BODY_CHARS}}}",
        reach=56,
        before="",
        after="",
        confidence=100,
        positives=("-----BEGIN PRIV" + "ATE KEY-----\n" + "A1b2" * (PEM_BODY_CHARS // 4),),
        negatives=("-----BEGIN PRIV" + "ATE KEY-----\n" + _MIX,),
    ),
)

_ASSIGN = r"[\w\-]{0,24}\\?[\"'`]?\]?[ \t]{0,4}(?:={1,3}>?|:{1,3}=?|\?=|, )[ \t]{0,4}\\?[\"'`]?"
_TERMINATOR = r"[^\s\"'`,;<>)\]}\\&]"

GENERIC: tuple[Rule, ...] = (
    Rule(
        id="bearer-token",
        entity_type="bearer_token",
        pattern=r"bearer[ ]",
        confirm=r"bearer {1,3}(?P<value>[A-Za-z0-9_\-.~+/]{20,2000}={0,2})",
        reach=7,
        after=r"[A-Za-z0-9_\-.~+/=]",
        caseless=True,
        check="random_token",
        confidence=85,
        positives=("Authorization: Bearer " + _MIX[:40],),
        negatives=("Authorization: Bearer <token>", "a bearer of good news"),
    ),
    Rule(
        id="basic-authorization",
        entity_type="password",
        pattern=r"authorization[\"']?: {0,2}[\"']?basic ",
        confirm=r"authorization[\"']?: {0,2}[\"']?basic (?P<value>[A-Za-z0-9+/]{8,400}={0,2})",
        reach=26,
        after=r"[A-Za-z0-9+/=]",
        caseless=True,
        confidence=90,
        positives=("Authorization: Basic " + "dXNlcjpwYXNzd29yZDE=",),
        negatives=("authorization: basic",),
    ),
    Rule(
        id="password-assignment",
        entity_type="password",
        pattern=r"(?:passw(?:or)?d|passphrase|pwd)",
        confirm=rf"(?:passw(?:or)?d|passphrase|pwd)(?:{_ASSIGN}| is )(?P<value>[\w!@#%^*+?~/|.$=:\-]{{8,128}})",
        reach=10,
        before="",
        after=_TERMINATOR,
        caseless=True,
        check="passphrase",
        confidence=75,
        positives=('DB_PASSWORD="Tr0ub4' + 'dor&3x"', "password: hunter" + "2!9", "my password is Blue" + "$ky77"),
        negatives=(
            "password: required",
            "password = get_password()",
            "the password is wrong today",
            "pwd = os.getcwd()",
        ),
    ),
    Rule(
        id="secret-assignment",
        entity_type="api_key",
        pattern=r"(?:secret|token|api[_\-]?key|access[_\-]?key|auth[_\-]?key|credential|client[_\-]?key|snyk[_\-]key)",
        confirm=rf"(?:secret|token|api[_\-]?key|access[_\-]?key|auth[_\-]?key|credential|client[_\-]?key|snyk[_\-]key){_ASSIGN}"
        r"(?P<value>[\w.=/+\-]{16,256})",
        reach=11,
        before="",
        after=_TERMINATOR,
        caseless=True,
        check="random_token",
        entropy=3.3,
        confidence=75,
        positives=('api_key = "' + _MIX[:32] + '"', "CLIENT_SECRET: " + _MIX[:24]),
        negatives=(
            "token = request.headers.get_token",
            'api_key = "your_api_key_goes_here1"',
            "tokens: 12345678901234567890",
        ),
    ),
)

SECRETS: tuple[Rule, ...] = CLOUD + GENERIC
