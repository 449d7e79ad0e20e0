"""The whole life of a product on its page, over the real nodes of three companies."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import lmdb
import pytest

from protocol.epcis.jcs import canonical
from registry.events.row import decode_event_row
from registry.store import Table
from tests.resolver.nodes import ok, serving
from tests.resolver.pages.test_browser import (
    CHROMIUM,
    DRIVER,
    Browser,
    _accessible,
    _fits,
    shots,
)
from tests.resolver.pages.test_page import Checked
from tests.resolver.trace.test_companies import (
    BLANKS,
    COIL,
    HIDDEN,
    MACHINE,
    ORE,
    PALLET,
    PART,
    SECRET,
    ZONE,
    World,
    at,
    capture,
    gtin,
)

__all__ = ["shots"]


def patient(folder):
    """Time enough for a loaded machine: what is tested is not how quick it is."""
    settings = folder / "biaoshi.toml"
    text = settings.read_text()
    assert "page_s = 2.0" in text
    settings.write_text(text.replace("page_s = 2.0", "page_s = 40.0"))
    return folder


@pytest.fixture(scope="module")
def companies(tmp_path_factory):
    base = tmp_path_factory.mktemp("whole")
    with serving() as serve:
        made = World(base, lambda folder: serve(patient(folder)))
        steel, equipment = made.nodes["steel"], made.nodes["equipment"]
        named = base / "things.csv"
        named.write_text(f"identifier,DESC@1,DESC.EN@2\n{COIL},钢卷 1,steel coil 1\n")
        ok("register", named, "--node", steel.folder)
        service = at(45, "ObjectEvent", action="OBSERVE", bizStep="repairing", epcList=[MACHINE])
        capture(equipment.folder, ZONE["equipment"], service)
        inside = at(46, "ObjectEvent", action="OBSERVE", bizStep="stock_taking", epcList=[COIL])
        capture(steel.folder, ZONE["steel"], inside, label=HIDDEN)
        yield made


def page(node, id_, view="", language="en"):
    """Status and text of a page, its markup checked."""
    query = "&".join(filter(None, (f"lang={language}", f"view={view}" if view else "")))
    url = f"{node.url}/page{id_.removeprefix('https://id.gs1.org')}?{query}"
    try:
        with urllib.request.urlopen(url, timeout=120) as reply:
            html = reply.read().decode().replace("&#x27;", "'")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    checked = Checked(html)
    assert len(set(checked.ids)) == len(checked.ids)
    return 200, html


def section(html, id_):
    found = re.search(rf'<section id="{id_}".*?</section>', html, re.DOTALL)
    assert found, id_
    return found[0]


def moments(html):
    """The events of a timeline as texts."""
    rows = re.findall(r"<li class=.*?</li>", section(html, "life"), re.DOTALL)
    return [
        unescape(re.sub(r"<details>.*?</details>|<[^>]*>", " ", row, flags=re.DOTALL))
        for row in rows
    ]


def questions(node):
    """How many traces were asked of a node so far."""
    with urllib.request.urlopen(f"{node.url}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    found = re.search(r'biaoshi_request_seconds_count\{face="http"[^}]*\} (\d+)', text)
    assert found, text[:3000]
    return int(found[1])


def test_the_plain_page_tells_only_this_nodes_part(companies):
    """No other company's event is on it; a link leads to the whole life."""
    _, html = page(companies.nodes["equipment"], MACHINE)
    assert "ore" not in html.lower().replace("more", "").replace("before", "")
    assert "view=life" in html
    assert ZONE["steel"] not in section(html, "life")


def test_a_whole_life_goes_from_ore_to_service(companies):
    """In the order of time, each event with who said it, whose node gave it and what was checked."""
    _, html = page(companies.nodes["equipment"], MACHINE, "life")
    rows = moments(html)
    steps = [
        next((s for s in ("commissioning", "departing", "receiving", "repairing") if s in row), "")
        for row in rows
    ]
    assert [step for step in steps if step] == [
        "commissioning",
        "departing",
        "receiving",
        "repairing",
    ]
    made = next(row for row in rows if "commissioning" in row)
    assert f"said by {ZONE['steel']}" in made
    assert f"given by the node of {ZONE['steel']}" in made
    assert "signature holds" in made and "vouched for up to a trusted root" in made
    assert f"in the log biaoshi/{ZONE['steel']}, change" in made
    moved = next(row for row in rows if "departing" in row)
    assert f"said by {ZONE['carrier']}" in moved and "carried part of it" in moved
    own = next(row for row in rows if "repairing" in row)
    assert "kept at this node" in own and "this node's own key" in own
    assert "steel coil 1" in html
    assert "Everybody who was asked has answered" in section(html, "missing")
    told = section(html, "companies")
    assert all(zone in told for zone in ZONE.values())


def test_the_picture_and_the_words_join_all_companies(companies):
    """Ore, coil and pallet stand in the picture of the machine, each a link."""
    _, html = page(companies.nodes["equipment"], MACHINE, "life")
    picture = section(html, "trace")
    for id_ in (ORE, COIL, PALLET, BLANKS, PART):
        assert f'href="/page{id_.removeprefix("https://id.gs1.org")}?lang=en"' in picture, id_


def test_in_chinese(companies):
    """The same in Chinese, names included."""
    _, html = page(companies.nodes["equipment"], MACHINE, "life", "zh")
    assert "完整生命周期" in html and "钢卷 1" in html
    assert f"由 {ZONE['steel']} 的节点提供" in html


def test_a_recall_over_all_companies(companies):
    """At the steel maker's node a coil's recall finds the machine; the plain one does not."""
    _, plain = page(companies.nodes["steel"], COIL, "recall")
    assert "M1" not in plain
    _, html = page(companies.nodes["steel"], COIL, "recall-all")
    rows = html[html.index("<tbody>") :]
    assert MACHINE.rpartition("/")[2] in rows
    assert "the other companies' nodes" in html


@pytest.mark.parametrize("view", ["", "life", "recall", "recall-all"])
def test_what_is_not_public_is_on_no_view(companies, view):
    """Neither here nor by way of another company's node."""
    for node in companies.nodes.values():
        for id_ in (COIL, PART):
            _, html = page(node, id_, view)
            assert SECRET.removeprefix("https://id.gs1.org") not in html
            assert "stock taking" not in html and "stock_taking" not in html


def test_absent_and_denied_are_one(companies):
    """A thing of hidden events and one that is not there: the same answer, and nobody is asked."""
    node, other = companies.nodes["equipment"], companies.nodes["steel"]
    before = questions(other)
    absent = page(node, gtin("equipment", 3) + "/21/S2", "life")
    denied = page(node, SECRET, "life")
    assert absent[0] == denied[0] == 404
    assert absent[1].replace("S2", "S1") == denied[1]
    assert questions(other) - before <= 2  # the reading of the metrics is counted itself


def test_many_who_ask_cost_the_others_one_life(companies):
    """Twenty at once and twenty later: the other nodes are asked as often as for one."""
    node, other = companies.nodes["equipment"], companies.nodes["steel"]
    page(node, PART, "life")
    before = questions(other)
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: page(node, PART, "life"), range(20)))
    assert {status for status, _ in found} == {200}
    assert len({re.sub(r"\d\d:\d\d", "", html) for _, html in found}) == 1
    assert questions(other) - before <= 1


COIL_3 = gtin("steel", 2) + "/21/C3"


def rewrite(folder, event_id, **fields):
    """What an intruder with the disk would do to the row of an event."""
    env = lmdb.Environment(str(folder / "store"), map_size=1 << 40, max_dbs=len(Table) + 5)
    try:
        events = env.open_db(Table.EVENTS.encode(), create=False)
        with env.begin(write=True) as txn:
            rows = [(key, decode_event_row(bytes(raw))) for key, raw in txn.cursor(events)]
            ((key, row),) = [(bytes(key), row) for key, row in rows if row.event_id == event_id]
            txn.put(key, row._replace(**fields).encode(), db=events)
    finally:
        env.close()


def test_signed_tampered_and_unsigned_events_are_told_apart(companies):
    """Here each has the badge it deserves; of another's node only what holds is taken, and said."""
    steel, equipment = companies.nodes["steel"], companies.nodes["equipment"]
    observed = {"action": "OBSERVE", "epcList": [COIL_3]}
    signed = at(50, "ObjectEvent", bizStep="inspecting", **observed)
    altered = at(51, "ObjectEvent", bizStep="storing", disposition="damaged", **observed)
    unsigned = at(52, "ObjectEvent", bizStep="sampling", **observed)
    capture(steel.folder, ZONE["steel"], signed, altered, unsigned)
    received = at(53, "ObjectEvent", bizStep="receiving", **observed)
    capture(equipment.folder, ZONE["equipment"], received)
    better = canonical(altered | {"disposition": "conformant"})
    rewrite(steel.folder, altered["eventID"], event=better)
    rewrite(steel.folder, unsigned["eventID"], signature=b"")

    for view in ("", "life"):
        rows = moments(page(steel, COIL_3, view)[1])
        good, bad, open_ = (
            next(row for row in rows if step in row)
            for step in ("inspecting", "storing", "sampling")
        )
        assert "✓ signature holds" in good and "in the log, change" in good
        assert "✗ SIGNATURE DOES NOT HOLD" in bad and "✓" not in bad
        assert "its place in the log was not checked" in bad
        assert "unsigned" in open_ and "✓" not in open_ and "✗" not in open_
    _, html = page(steel, COIL_3, "life")
    own = section(html, "companies")
    assert '<li class="bad">' in own and "Events: 3; with a signature that holds: 1" in own
    _, certificate = page(steel, COIL_3, "certificate")
    assert "SIGNATURE DOES NOT HOLD" in certificate

    _, html = page(equipment, COIL_3, "life")
    rows = "".join(moments(html))
    assert "inspecting" in rows and "receiving" in rows
    assert "storing" not in rows and "sampling" not in rows and "conformant" not in rows
    missing = section(html, "missing")
    assert "EVENTS WERE GIVEN THAT DO NOT VERIFY" in missing and '<li class="bad">' in missing


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("size", ["phone", "desk"])
async def test_it_comes_by_itself_in_a_browser(companies, tmp_path, shots, size):
    """With script the plain page fills with all companies' events; without, the link does it."""
    url = f"{companies.nodes['equipment'].url}/page{MACHINE.removeprefix('https://id.gs1.org')}"

    def run():
        browser = Browser(tmp_path / "a", size, "en")
        try:
            browser.open(url)
            assert browser.one("#asked").text.endswith("Companies that tell it: 3.")
            assert browser.one("#whole").get_attribute("data-state") == "whole"
            assert "commissioning" in browser.one("ol.life").text
            assert browser.one(".filters").is_displayed()
            _accessible(browser)
            _fits(browser)
            browser.shoot(shots, f"whole-{size}")
            errors = [one for one in browser.driver.get_log("browser") if one["level"] != "INFO"]
            assert errors == []
        finally:
            browser.driver.quit()
        browser = Browser(tmp_path / "b", size, "en", script=False)
        try:
            browser.driver.get(url)
            assert "commissioning" not in browser.one("ol.life").text
            browser.one("p.more a").click()
            assert "commissioning" in browser.one("ol.life").text
        finally:
            browser.driver.quit()

    for name in "ab":
        (tmp_path / name).mkdir()
    await asyncio.to_thread(run)


def test_a_silent_company_is_a_gap_and_the_rest_is_told(companies):
    """With the carrier down, the life says that somebody did not answer; last of this file."""
    companies.nodes["carrier"].stop()
    _, html = page(companies.nodes["equipment"], BLANKS, "life")
    assert "Somebody's node did not answer" in section(html, "missing")
    rows = "".join(moments(html))
    assert "commissioning" in rows and "departing" not in rows
