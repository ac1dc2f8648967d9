"""Below an issuing CA that was retired nobody gets in: not with the whole chain on the wire, not on a stream that
stands, and not behind an ingress that is below it.
"""

from pathlib import Path

from certs import keys
from controlplane.domain.authorities import AuthorityKind
from tests.integration.controlplane_client import Client, ended, read, running
from tests.integration.test_identity_wire import boot, renewed
from tests.integration.test_ingress import as_peer, edge, fetch, passed_on, until_refused

OUTPOSTS = AuthorityKind.OUTPOSTS


def with_roots(client: Client) -> Client:
    """The same outpost, showing everything above its leaf."""
    chain = (*client.answer.chain_der, *client.answer.trust_bundle_der)
    assert len(chain) == 3
    pem = keys.certificates_pem([keys.certificate_from_der(der) for der in chain])
    return as_peer(client, client.answer.sync_endpoint, (client.key_pem, pem))


async def test_an_outpost_below_it_is_refused_whatever_chain_it_sends(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        other = await Client.enroll(await cp.token(name="other"))
        whole, standing = with_roots(client), await other.hello(boot=boot(1))
        await read(standing)
        known = await fetch(client)
        assert known == await fetch(whole) != "identity.refused"
        cas = cp.plane.authorities
        await cas.prepare(OUTPOSTS, None)
        await cas.activate(OUTPOSTS)
        fresh = await renewed(client)
        await cas.taint(OUTPOSTS)
        await cas.retire(OUTPOSTS, force=True)
        assert (await ended(standing))[1].code == "identity.refused"
        for each in (client, whole, other, with_roots(client)):
            await until_refused(each, "identity.refused")
        late = await client.hello(boot=boot(2))
        assert (await ended(late))[1].code == "identity.refused"
        assert await fetch(fresh) == await fetch(with_roots(fresh)) == known
        for each in (client, whole, other, fresh):
            await each.channel.close()


async def test_an_ingress_below_it_is_refused_though_it_sends_the_retired_ca(tmp_path: Path) -> None:
    async with edge(tmp_path) as place:
        client = await place.enrolled("prod")
        folder, cas = place.nginx.folder, place.cp.plane.authorities
        pair = (folder / "ingress.key").read_bytes(), (folder / "ingress.pem").read_bytes()
        assert pair[1].count(b"BEGIN CERTIFICATE") == 2
        ingress = as_peer(client, place.direct, pair)
        await cas.prepare(OUTPOSTS, None)
        await cas.activate(OUTPOSTS)
        fresh = await renewed(client)
        header = {"x-ssl-client-cert": passed_on(fresh)}
        assert await fetch(ingress, **header) != "identity.refused"
        await cas.taint(OUTPOSTS)
        await cas.retire(OUTPOSTS, force=True)
        await until_refused(as_peer(client, place.direct, pair), "identity.refused")
        assert await fetch(ingress, **header) == "identity.refused"
        for each in (client, fresh, ingress):
            await each.channel.close()
