"""OIDs and GS1 keys over every face: registered once, answered over DO-IRP, HTTP and DNS."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request

import dns.message
import dns.query
import pytest

from resolver.config import FaceSettings
from tests.resolver.nodes import Serving, biaoshi, make

LINK = "https://id.gs1.org/01/09506000134352"
SERIAL = f"{LINK}/21/aBc"
ROWS = (
    ("2.999.7", "https://example.org/7"),
    ("urn:oid:2.999.7.8", "https://example.org/8"),
    ("2.999", "https://example.org/all"),
    ("/Example/测试", "https://example.org/test"),
    ("(01)09506000134352", "https://example.org/gtin"),
    (SERIAL, "https://example.org/serial"),
)
ABSENT = ("2.999.9", "https://id.gs1.org/01/09506000134369")
ELSEWHERE = ("1.3.6.1", "https://id.gs1.org/01/04006381333931")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node that is home to 2.999 and to GS1 numbers beginning with 9, and its records."""
    faces = FaceSettings(irp=0, http=0, https=None, dns=0)
    folder = make(tmp_path_factory.mktemp("oids") / "node", "2.999", faces=faces)
    serving = Serving(folder)
    serving.ready  # noqa: B018 - waits
    done = biaoshi("prefix", "home", "GS1.9", "--node", folder)
    assert done.returncode == 0, done.stderr
    file = folder.parent / "rows.csv"
    file.write_text("identifier,URL\n" + "".join(f"{name},{url}\n" for name, url in ROWS))
    done = biaoshi("register", file, "--node", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    yield serving
    serving.stop()


def shown(node, name):
    """The URL in an answer of the Handle JSON interface, and its status."""
    address = f"http://127.0.0.1:{node.ready['http']}/api/handles/"
    address += urllib.parse.quote(name, safe="") + "?type=URL"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        body = json.load(error)
    return body["responseCode"], [v["data"]["value"] for v in body.get("values", ())]


@pytest.mark.parametrize(("name", "url"), ROWS)
def test_registered_names_are_found_over_do_irp_and_http(node, name, url):
    """An OID or a GS1 key, spelled in any way, is found under its normalized form."""
    server = f"127.0.0.1:{node.ready['irp']}"
    for way in ("--udp", "--tcp"):
        done = biaoshi("resolve", name, "--server", server, way, "--type", "URL", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert [v["data"]["value"] for v in found["values"]] == [url]
    assert shown(node, found["handle"]) == (1, [url])


def test_absent_and_foreign_names_are_told_apart(node):
    """What lies under an arc that is homed here is absent; what does not, is not ours."""
    for name in ABSENT:
        assert shown(node, name)[0] == 100
    for name in ELSEWHERE:
        server = f"127.0.0.1:{node.ready['irp']}"
        done = biaoshi("resolve", name, "--server", server, "--json")
        assert json.loads(done.stdout)["responseCode"] == 301


def test_suffixes_of_gs1_keys_keep_their_case(node):
    """Serial numbers that differ in case are different things."""
    assert shown(node, SERIAL) == (1, ["https://example.org/serial"])
    assert shown(node, SERIAL.replace("aBc", "ABC"))[0] == 100


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("ors-dummy.7.999.2.oid-res.org", "https://example.org/7"),
        ("ors-dummy.7.example.oid-res.org", "https://example.org/7"),
        ("ors-dummy.999.2.oid-res.org", "https://example.org/all"),
        ("ors-dummy.xn--0zwm56d.example.oid-res.org", "https://example.org/test"),
        ("0.5.3.4.3.1.0.0.0.6.0.5.9.gtin.gs1.id.onsepc.com", "https://example.org/gtin"),
    ],
)
def test_registered_names_are_found_over_dns(node, name, uri):
    """The same records are NAPTR records in DNS, over UDP and TCP."""
    for ask in (dns.query.udp, dns.query.tcp):
        query = dns.message.make_query(name, "NAPTR")
        answer = ask(query, "127.0.0.1", port=node.ready["dns"], timeout=5)
        assert f"!^.*$!{uri}!" in answer.to_text()


def test_deleted_records_are_gone_everywhere(node):
    """What is deleted by a batch file is gone from HTTP and DNS, and the store is in order."""
    file = node.folder.parent / "rows.batch"
    file.write_text("DELETE 2.999.7.8\n")
    done = biaoshi("register", file, "--node", node.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shown(node, "2.999.7.8")[0] == 100
    query = dns.message.make_query("ors-dummy.8.7.999.2.oid-res.org", "NAPTR")
    answer = dns.query.udp(query, "127.0.0.1", port=node.ready["dns"], timeout=5)
    assert answer.rcode() == 3
