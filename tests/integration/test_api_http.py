"""The admin API over HTTP: limits, strict reading, headers, and what hostile bytes get."""

import asyncio
import base64
import json
import ssl
from pathlib import Path

import pytest

from controlplane.domain.pace import Pace
from controlplane.domain.rbac import Role
from controlplane.web.api import http
from controlplane.web.api.dispatch import Rates
from controlplane.web.api.http import MAX_HEADERS, SECURITY_HEADERS
from controlplane.web.api.operation import MAX_BODY_BYTES
from controlplane.web.api.reading import MAX_HEADER_BYTES
from tests.integration.api_server import Site, api_site, problem

LINT = "/v1/orgs/acme/policy/lint"
JSON = {"Content-Type": "application/json"}


async def test_every_answer_has_an_id_and_the_headers_and_no_banner(tmp_path: Path) -> None:
    async with api_site(tmp_path, "acme") as site:
        alice = await site.bed.person("acme", "alice")
        answers = [
            await site.call("GET", "/healthz"),
            await site.call("GET", "/v1/orgs/acme", alice.token),
            await site.call("GET", "/v1/orgs/acme"),
            await site.call("GET", "/nowhere"),
            await site.call("DELETE", "/v1/orgs"),
            await site.call("HEAD", "/healthz"),
        ]
        assert [each.status_code for each in answers] == [200, 200, 401, 404, 405, 200]
        for each in answers:
            assert {name: each.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
            assert "server" not in each.headers
        assert len({each.headers["X-Request-Id"] for each in answers}) == len(answers)
        assert answers[2].headers["WWW-Authenticate"].startswith("Bearer")
        assert answers[4].headers["Allow"] == "GET, POST"
        assert answers[5].content == b""


BODIES: dict[str, tuple[bytes, int, str]] = {
    "a key twice": (b'{"document":"a","document":"b"}', 400, "body.duplicate_key"),
    "a byte order mark": (b'\xef\xbb\xbf{"document":"a"}', 400, "body.bom"),
    "bytes behind it": (b'{"document":"a"} x', 400, "body.trailing"),
    "bad UTF-8": (b'{"document":"\xff"}', 400, "body.not_utf8"),
    "half a surrogate pair": (b'{"document":"\\ud800"}', 400, "body.malformed"),
    "not a number": (b'{"document":NaN}', 400, "body.number_range"),
    "no JSON": (b"document: a", 400, "body.malformed"),
    "nothing": (b"", 400, "body.malformed"),
    "a list": (b"[]", 400, "body.not_an_object"),
    "too deep": (b'{"document":' * 70 + b"1" + b"}" * 70, 400, "body.too_deep"),
    "an unknown field": (b'{"document":"a","more":1}', 422, "request.invalid"),
    "a number for a text": (b'{"document":1}', 422, "request.invalid"),
    "a missing field": (b"{}", 422, "request.invalid"),
    "no policy": (b'{"document":"{}"}', 422, "policy.document"),
    "too large": (b'{"document":"' + b"a" * MAX_BODY_BYTES + b'"}', 413, "body.too_large"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_is_read_strictly(case: str, tmp_path: Path) -> None:
    body, status, code = BODIES[case]
    async with api_site(tmp_path, "acme") as site:
        alice = await site.bed.person("acme", "alice")
        answer = await site.call("POST", LINT, alice.token, content=body, headers=JSON)
        found = problem(answer)
        assert found == (status, code) or (case == "no policy" and found[0] == 422)
        # a body in pieces, without an announced length, is bounded as well
        if case == "too large":

            async def pieces() -> object:
                for _ in range(20):
                    yield body[: MAX_BODY_BYTES // 10]

            answer = await site.call("POST", LINT, alice.token, content=pieces(), headers=JSON)
            assert problem(answer) == (413, "body.too_large")


TYPES: dict[str, dict[str, str]] = {
    "a form": {"Content-Type": "application/x-www-form-urlencoded"},
    "no type": {"Content-Type": ""},
    "another charset": {"Content-Type": "application/json; charset=latin-1"},
    "a compressed body": {"Content-Type": "application/json", "Content-Encoding": "gzip"},
}


@pytest.mark.parametrize("case", TYPES)
async def test_another_media_type_is_refused(case: str, tmp_path: Path) -> None:
    async with api_site(tmp_path, "acme") as site:
        alice = await site.bed.person("acme", "alice")
        answer = await site.call("POST", LINT, alice.token, content=b"{}", headers=TYPES[case])
        assert problem(answer) == (415, "content_type.unsupported")


async def test_nobody_without_a_right_gets_his_body_read(tmp_path: Path) -> None:
    async with api_site(tmp_path, "acme") as site:
        olga = await site.bed.person("acme", "olga", Role.AUDITOR)
        broken = b'{"document":'
        answer = await site.call("PUT", "/v1/orgs/acme/policy", olga.token, content=broken, headers=JSON)
        assert problem(answer) == (403, "access.role")
        answer = await site.call("PUT", "/v1/orgs/globex/policy", olga.token, content=broken, headers=JSON)
        assert problem(answer) == (404, "org.unknown")


QUERIES: dict[str, tuple[str, int, str]] = {
    "a name twice": ("?limit=1&limit=2", 422, "request.invalid"),
    "an unknown name": ("?limits=1", 422, "request.invalid"),
    "a path's parameter in the query": ("?org=acme", 422, "request.invalid"),
    "no number": ("?limit=x", 422, "request.invalid"),
    "zero": ("?limit=0", 422, "request.invalid"),
    "201": ("?limit=201", 422, "request.invalid"),
    "a forged cursor": ("?cursor=AAAA", 422, "request.cursor"),
    "no pair": ("?limit", 422, "request.invalid"),
    "bad UTF-8": ("?cursor=%ff", 422, "request.invalid"),
    "a huge one": ("?cursor=" + "a" * 5000, 422, "request.invalid"),
}


@pytest.mark.parametrize("case", QUERIES)
async def test_a_query_is_read_strictly(case: str, tmp_path: Path) -> None:
    query, status, code = QUERIES[case]
    async with api_site(tmp_path, "acme") as site:
        alice = await site.bed.person("acme", "alice")
        assert problem(await site.call("GET", f"/v1/orgs/acme/keys{query}", alice.token)) == (status, code)


RAW: dict[str, tuple[bytes, bytes]] = {
    "no HTTP": (b"\x00\x01\x02\r\n\r\n", b" 400 "),
    "two lengths": (
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b" 400 ",
    ),
    "a length and chunks": (
        b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b" 400 ",
    ),
    "a header without a name": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", b" 400 "),
    "a header over lines": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", b" 400 "),
    "a long line": (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b" 400 "),
    "a long header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"b" * 10_000 + b"\r\n\r\n", b" 400 "),
    "many headers": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        + b"".join(b"X-%d: b\r\n" % at for at in range(MAX_HEADERS + 5))
        + b"\r\n",
        b" 400 ",
    ),
    "many bytes of headers": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        + b"".join(b"X-%d: %b\r\n" % (at, b"b" * 1000) for at in range(MAX_HEADER_BYTES // 1000 + 1))
        + b"\r\n",
        b" 431 ",
    ),
}


@pytest.mark.parametrize("case", RAW)
async def test_what_is_no_request_is_answered_without_an_echo(case: str, tmp_path: Path) -> None:
    request, status = RAW[case]
    canary = b"X-Canary: hunter2-canary\r\n"
    async with api_site(tmp_path) as site:
        answer = await site.raw(request.replace(b"Host: x\r\n", b"Host: x\r\n" + canary))
        assert status in answer.split(b"\r\n", 1)[0] + b" "
        assert b"hunter2" not in answer
        assert b"aiohttp" not in answer.lower()
        assert b"python" not in answer.lower()


async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEADERS_SECONDS", 0.2)
    async with api_site(tmp_path) as site:
        for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.tls)
            writer.write(begun)
            with_time = asyncio.wait_for(reader.read(), 5)
            try:
                assert await with_time == b""
            except (ConnectionError, ssl.SSLError):
                pass  # closed hard
            finally:
                writer.close()
        assert (await site.call("GET", "/healthz")).status_code == 200


async def test_a_body_that_trickles_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from controlplane.web.api import reading

    monkeypatch.setattr(reading, "BODY_SECONDS", 0.2)
    async with api_site(tmp_path) as site:
        head = (
            b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        answer = await site.raw(head)
        assert b" 408 " in answer.split(b"\r\n", 1)[0]
        assert b'"http.timeout"' in answer


async def test_an_answer_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.1)
    async with api_site(tmp_path, "acme") as site:
        alice = await site.bed.person("acme", "alice")
        async with site.bed.store.for_org("acme").write():
            answer = await site.call("POST", "/v1/orgs/acme/keys", alice.token, json={"name": "k"})
        assert problem(answer) == (503, "api.timeout")
        assert answer.headers["Retry-After"]
        monkeypatch.undo()
        assert (await site.call("GET", "/v1/orgs/acme/keys", alice.token)).json()["keys"] == []


async def test_rates_are_told(tmp_path: Path) -> None:
    rates = Rates(Pace(0.1, 3), Pace(0.1, 5))
    async with api_site(tmp_path, "acme", rates=rates) as site:
        alice = await site.bed.person("acme", "alice")
        site.bed.dispatcher._rates.strangers._arrivals.clear()
        for _ in range(3):
            assert (await site.call("GET", "/v1/orgs/acme", alice.token)).status_code == 200
        answer = await site.call("GET", "/v1/orgs/acme", alice.token)
        assert problem(answer) == (429, "api.throttled")
        assert int(answer.headers["Retry-After"]) > 1
        for _ in range(5):
            assert problem(await site.call("GET", "/v1/orgs/acme", "garbage"))[0] == 401
        assert problem(await site.call("GET", "/v1/orgs/acme", "garbage")) == (429, "api.throttled")
        assert problem(await site.call("GET", "/healthz")) == (429, "api.throttled")


class TestTokenEndpoint:
    """RFC 6749."""

    async def site_with_client(self, site: Site) -> tuple[str, str]:
        client_id, secret, _ = await site.bed.machine("acme", "ci", Role.OPERATOR)
        return client_id, secret

    async def test_basic_wins_over_the_body(self, tmp_path: Path) -> None:
        async with api_site(tmp_path, "acme") as site:
            client_id, secret = await self.site_with_client(site)
            form = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}
            answer = await site.client.post("/oauth/token", data=form, auth=(client_id, secret))
            assert answer.status_code == 200
            assert answer.json()["token_type"] == "Bearer"
            assert answer.headers["Cache-Control"] == "no-store"
            right = {**form, "client_id": client_id, "client_secret": secret}
            assert (await site.client.post("/oauth/token", data=right)).status_code == 200
            answer = await site.client.post("/oauth/token", data=right, auth=(client_id, "wrong"))
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
            broken = {"Authorization": "Basic !!!"}
            answer = await site.client.post("/oauth/token", data=right, headers=broken)
            assert answer.status_code == 401

    async def test_it_takes_a_form_only(self, tmp_path: Path) -> None:
        async with api_site(tmp_path, "acme") as site:
            answer = await site.client.post("/oauth/token", json={"grant_type": "client_credentials"})
            assert problem(answer) == (415, "content_type.unsupported")
            twice = b"grant_type=client_credentials&grant_type=password"
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = await site.client.post("/oauth/token", content=twice, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    async def test_a_token_opens_what_its_role_may(self, tmp_path: Path) -> None:
        async with api_site(tmp_path, "acme") as site:
            client_id, secret = await self.site_with_client(site)
            basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
            answer = await site.client.post(
                "/oauth/token",
                content=b"grant_type=client_credentials",
                headers={"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"},
            )
            token = answer.json()["access_token"]
            made = await site.call("POST", "/v1/orgs/acme/outposts", token, json={"name": "prod"})
            assert (made.status_code, made.json()["schema"]) == (201, "controlplane.registration/1")
            assert problem(await site.call("GET", "/v1/orgs/acme/acts", token)) == (403, "access.role")


async def test_the_access_log_has_no_query_no_body_and_no_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with api_site(tmp_path, "acme") as site:
        alice = await site.bed.person("acme", "alice")
        canary = "hunter2-canary"
        caplog.set_level("INFO", "controlplane")
        await site.call("GET", f"/v1/orgs/acme/acts?operation={canary}", alice.token)
        await site.call("POST", LINT, alice.token, json={"document": canary})
        await site.call("GET", f"/v1/orgs/{canary}", alice.token)
        await site.call("GET", f"/{canary}")
        lines = [(each.getMessage(), each.__dict__.get("fields", {})) for each in caplog.records]
        requests = [fields for event, fields in lines if event == "api.request"]
        assert [each["route"] for each in requests] == [
            "/v1/orgs/{org}/acts",
            "/v1/orgs/{org}/policy/lint",
            "/v1/orgs/{org}",
            "-",
        ]
        assert {"method", "route", "status", "duration_ms", "source", "request_id"} == set(requests[0])
        assert canary not in json.dumps(lines)
        assert alice.token not in json.dumps(lines)


async def test_an_update_is_guarded_by_its_etag(tmp_path: Path) -> None:
    async with api_site(tmp_path, "acme") as site:
        alice = await site.bed.person("acme", "alice")
        shown = await site.call("GET", "/v1/orgs/acme/policy", alice.token)
        policy = {"document": json.dumps(shown.json()["policy"]).replace("found.", "seen.")}
        etag = {"If-Match": shown.headers["ETag"]}
        assert (
            await site.call("PUT", "/v1/orgs/acme/policy", alice.token, json=policy, headers=etag)
        ).status_code == 200
        again = await site.call("PUT", "/v1/orgs/acme/policy", alice.token, json=policy, headers=etag)
        assert problem(again) == (412, "precondition.failed")


async def test_one_idempotency_key_is_one_act_over_http_too(tmp_path: Path) -> None:
    async with api_site(tmp_path, "acme") as site:
        alice = await site.bed.person("acme", "alice")
        key = {"Idempotency-Key": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}
        answers = await asyncio.gather(
            *(site.call("POST", "/v1/orgs/acme/keys", alice.token, json={"name": "k"}, headers=key) for _ in range(20))
        )
        assert {each.status_code for each in answers} == {201}
        assert len({each.json()["key"] for each in answers}) == 1
        assert [each.headers.get("Idempotency-Replayed") for each in answers].count("true") == 19


async def test_tls_is_1_2_or_newer(tmp_path: Path) -> None:
    async with api_site(tmp_path) as site:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=old)
        writer.close()
        assert site.tls.minimum_version == ssl.TLSVersion.TLSv1_2
