"""Detectors for infrastructure: addresses, and strings that open a connection."""

from outpost.core.detect.rules_base import Rule

_SCHEMES = (
    "postgres(?:ql)?|mysql|mariadb|mongodb|rediss?|amqps?|mssql|sqlserver|oracle|clickhouse|ldaps?|ftps?|sftp|smtps?"
)
_NOT_IN_URL = r"""[^\s"'`<>]"""

NETWORK: tuple[Rule, ...] = (
    Rule(
        id="ipv4",
        entity_type="ip_address",
        pattern=r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
        confirm=r"\d{1,3}(?:\.\d{1,3}){3,7}",
        reach=13,
        before=r"[\w.]",
        check="ipv4",
        context=("ip", "address", "host", "server", "client"),
        confidence=80,
        positives=("from 41.173.96" + ".26.", "ip=165.165." + "185.178:8080"),
        negatives=("256.1.1.1", "1.2.3.4.5", "version 1.2.3", "127.0.0.1", "v1.2.3.4"),
    ),
    Rule(
        id="ipv6",
        entity_type="ip_address",
        pattern=r"::[0-9a-f]|(?:[0-9a-f]{1,4}:){4}|[0-9a-f]::",
        confirm=r"[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,8}(?:\.\d{1,3}){0,3}",
        reach=40,
        before=r"[\w:.]",
        after=r"[\w:]",
        caseless=True,
        check="ipv6",
        confidence=85,
        positives=(
            "6e40:4041:c617:e898:c11:" + "40d2:c669:2eb4",
            "at 2001:db8::" + "ff00:42:8329,",
            "::ffff:" + "10.1.2.3",
        ),
        negatives=("12:30:45", "std::abs(x)", "::1", "a::b", "00:1a:2b:3c:4d:5e"),
    ),
    Rule(
        id="mac-address",
        entity_type="mac_address",
        pattern=r"(?:[0-9a-f]{2}[:\-]){5}[0-9a-f]{2}",
        confirm=r"(?:[0-9a-f]{2}[:\-]){5}[0-9a-f]{2}",
        reach=17,
        before=r"[\w:\-]",
        after=r"[\w:\-]",
        caseless=True,
        check="mac",
        confidence=75,
        positives=("eth0 00:1a:2b:" + "3c:4d:5e up",),
        negatives=("ff:ff:ff:ff:ff:ff", "00:1a:2b:3c:4d:5e:6f"),
    ),
    Rule(
        id="connection-string",
        entity_type="connection_string",
        pattern=rf"(?:{_SCHEMES})(?:\+[a-z0-9]{{1,20}})?://",
        confirm=rf"(?:{_SCHEMES})(?:\+[a-z0-9]{{1,20}})?://[^\s:/@\"'`<>]{{0,64}}:[^\s@/\"'`<>]{{3,128}}@{_NOT_IN_URL}{{2,255}}",
        reach=40,
        caseless=True,
        before=r"[\w]",
        after="",
        confidence=95,
        positives=(
            "DATABASE_URL=postgres://app:" + "s3cr3tpw@db.internal:5432/app",
            "mongodb+srv://u:" + "pa55word1@cluster0.example.net/x",
            "redis://:" + "hunter22@cache:6379",
        ),
        negatives=("postgres://localhost/app", "mysql://user@host/db"),
    ),
    Rule(
        id="url-credentials",
        entity_type="connection_string",
        pattern=r"https?://[^\s/:@]{1,256}:",
        confirm=rf"https?://[^\s:/@\"'`<>]{{1,64}}:[^\s@/\"'`<>]{{3,128}}@{_NOT_IN_URL}{{2,255}}",
        reach=73,
        caseless=True,
        after="",
        confidence=85,
        positives=("clone https://bob:" + "t0ken12345@git.example.org/a.git",),
        negatives=("https://example.org:8080/a@b", "http://localhost:3000/x@y"),
    ),
    Rule(
        id="connection-key-value",
        entity_type="connection_string",
        pattern=r"(?:server|host|data source)[ ]{0,2}=[^;=\r\n]{1,400};",
        confirm=r"(?:server|host|data source) {0,2}=[^;=\r\n]{1,100};(?:[^;=\r\n]{1,40}=[^;\r\n]{0,100};){0,5}"
        r" ?(?:password|pwd) {0,2}=[^;\s\"'`]{3,128}",
        reach=117,
        caseless=True,
        after=r"[^;\s\"'`]",
        confidence=95,
        positives=("Server=tcp:db1,1433;Database=hr;User Id=sa;Password=" + "Gr3atPw!;Encrypt=true",),
        negatives=("Server=db1;Database=hr;Trusted_Connection=yes;",),
    ),
)
