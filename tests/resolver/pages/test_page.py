"""The page of a product over real sockets: what it says, and what it never says."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.resolver.http.node_in_process import value
from tests.resolver.pages.works import BLANKS, COIL, MACHINE, PALLET, PARTS

VOID = {"meta", "link", "br", "hr", "input", "img"}


class Checked(HTMLParser):
    """Parses strictly enough to find open elements, handlers, styles and foreign resources."""

    def __init__(self, html):
        super().__init__()
        self.open, self.found, self.ids = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        for name, text in attrs:
            assert not name.startswith("on") and name != "style", (tag, name)
            if name == "id":
                self.ids.append(text)
            if name == "src":
                assert text.startswith("/api/page-"), text
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


async def page(served, path, language="en", status=200):
    answer = await served.ask("GET", path, headers={"Accept-Language": language})
    assert answer.status == status, answer.body[:300]
    html = answer.body.decode()
    checked = Checked(html)
    assert len(set(checked.ids)) == len(checked.ids)
    return answer, html, checked


async def test_a_life_is_told_with_places_and_what_carried_the_product(works):
    """Own events and those of the pallet while the part was on it; none of the pallet's later."""
    _, html, _ = await page(works, f"/page/{PARTS[0]}")
    life = html[html.index('class="life"') :]
    assert "shipping" in life and "harbour yard" in life and "while it was in" in life
    assert life.count("harbour yard") == 1
    assert "installing" in life and "repairing" in life and "needs replacement" in life
    assert "2026-03-03 08:00 +08:00" in life
    assert "signature holds" in life and "in the log, change" in life


@pytest.mark.parametrize(
    ("state", "english", "chinese"),
    [
        ("good", "Verified: this is what its publisher signed", "核验通过"),
        ("open", "Not everything could be checked here", "并非所有项目"),
        ("bad", "Not verified: a check failed", "核验未通过"),
    ],
)
async def test_one_sentence_says_what_the_checks_came_to(
    works, monkeypatch, state, english, chinese
):
    """The worst of the checks decides what is said above them; the log's is good here."""
    found = [("good", "a", "b"), (state, "c", "d")]
    monkeypatch.setattr("resolver.pages.render.Renderer._of_signature", lambda self: found)
    for language, text in (("en", english), ("zh", chinese)):
        _, html, _ = await page(works, f"/page/{COIL}", language)
        assert f'<p class="verdict seal {state}">{text}' in html


async def test_readings_are_in_words(works):
    """What was measured is named in the page's language, the unit as people write it."""
    _, html, _ = await page(works, f"/page/{COIL}")
    assert "reading: temperature 870 °C" in html
    _, html, _ = await page(works, f"/page/{COIL}", "zh")
    assert "读数：温度 870 °C" in html


async def test_names_turn_no_text_around(works):
    """Characters that turn the direction of writing are left out of names."""
    works.register("86.999/TURNED", value(1, "0.NAME", "pump \u202e9-elor\u2069 \u0645\u0636"))
    _, html, _ = await page(works, "/page/86.999/TURNED")
    assert "<h1>pump 9-elor \u0645\u0636</h1>" in html


async def test_chinese_and_english_by_preference_and_by_choice(works):
    """Accept-Language decides unless ?lang= does; the document says which it is."""
    for path, header, tag, name in (
        (f"/page/{COIL}", "zh-CN,zh;q=0.9,en;q=0.1", "zh-Hans", "冷轧钢卷 1"),
        (f"/page/{COIL}", "en-GB,zh;q=0.5", "en", "cold rolled coil 1"),
        (f"/page/{COIL}", "sv", "en", "cold rolled coil 1"),
        (f"/page/{COIL}?lang=zh", "en", "zh-Hans", "冷轧钢卷 1"),
        (f"/page/{COIL}?lang=en", "zh", "en", "cold rolled coil 1"),
    ):
        answer, html, checked = await page(works, path, header)
        assert checked.all("html") == [{"lang": tag}]
        assert answer.headers["Content-Language"] == tag
        assert "Accept-Language" in answer.headers["Vary"]
        assert f"<h1>{name}</h1>" in html


@pytest.mark.parametrize("view", ["", "?view=recall", "?view=certificate"])
async def test_nothing_of_a_page_comes_from_elsewhere(works, view):
    """A strict policy, one hashed style, one script of ours; landmarks, one h1, named regions."""
    answer, html, checked = await page(works, f"/page/{PARTS[0]}{view}")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert len(checked.all("script")) == len(checked.all("main")) == len(checked.all("h1")) == 1
    for tag in ("header", "nav", "footer", "title"):
        assert checked.all(tag)
    assert all(attrs.get("aria-label") for attrs in checked.all("nav"))
    assert not re.search(r"url\(|@import", html.replace("url(#arrow)", ""))
    script = await works.ask("GET", checked.all("script")[0]["src"])
    assert script.status == 200 and "immutable" in script.headers["Cache-Control"]


async def test_what_is_withheld_or_labelled_does_not_show(works):
    """Values without public read and events above level 1 are on no view."""
    for view in ("", "?view=recall", "?view=certificate"):
        _, html, _ = await page(works, f"/page/{COIL}{view}")
        assert "never shown" not in html and "SECRET" not in html and "holding" not in html


async def test_values_are_escaped(works):
    """Markup in values is text; addresses of other schemes are no links."""
    _, html, checked = await page(works, "/page/86.999/EVIL")
    assert "<script>alert" not in html and "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert all(not a.get("href", "").startswith("javascript") for a in checked.all("a"))


async def test_the_picture_links_things_and_relations(works):
    """Each box is a link to a page, each line to its details; details name event and signer."""
    _, html, checked = await page(works, f"/page/{PARTS[0]}")
    picture = html[html.index("<svg xmlns") : html.index("</svg>", html.index("<svg xmlns"))]
    assert f'href="/page/{COIL}"' in picture and f'href="/page/{MACHINE}"' in picture
    lines = re.findall(r'href="#(edge-\d+)"', picture)
    assert len(lines) >= 4 and set(lines) <= set(checked.ids)
    details = html[html.index('id="edge-0"') :]
    assert "urn:uuid:10000000" in details and "said by" in details and "signature holds" in details


async def test_recall_lists_what_was_made_of_a_coil(works):
    """All three parts and blanks and the machine, each with where it was seen last."""
    _, html, checked = await page(works, f"/page/{COIL}?view=recall")
    rows = html[html.index("<tbody>") :]
    for name in (*PARTS[1:], "stamped part 1", "86.999/BLANK-3", "press machine 1"):
        assert name in rows
    assert "PALLET" not in rows  # it only carried them
    assert len(checked.all("caption")) == 1
    assert all(attrs.get("scope") for attrs in checked.all("th"))


async def test_badges_say_what_was_checked_and_no_more(works):
    """An unsigned record is called so; its place in the log is proved and said."""
    _, html, _ = await page(works, f"/page/{COIL}")
    badges = html[html.index('class="badges"') : html.index("</ul>", html.index('class="badges"'))]
    assert "Unsigned" in badges and "Values as signed" not in badges and "Chain" not in badges
    assert "In the log" in badges and "biaoshi/86.999" in badges


async def test_an_identifier_without_record_has_a_page_of_its_public_events(works):
    """The pallet has no record but a page; a thing of labelled events only looks like none."""
    _, html, _ = await page(works, f"/page/{PALLET}")
    assert "No record is kept here" in html and "packing" in html
    absent, _, _ = await page(works, "/page/86.999/NOTHING", status=404)
    denied, _, _ = await page(works, "/page/86.999/SECRET-PLACE", status=404)
    assert absent.status == denied.status
    swap = denied.body.replace(b"SECRET-PLACE", b"NOTHING")
    assert absent.body == swap


async def test_the_page_comes_where_the_record_names_no_target(works):
    """GET /ID gives the page; a record with a URL still redirects."""
    _, html, _ = await page(works, f"/{COIL}")
    assert "<h1>cold rolled coil 1</h1>" in html
    works.register("86.999/TO", *_url())
    answer = await works.ask("GET", "/86.999/TO")
    assert answer.status == 302
    _, html, checked = await page(works, "/page/86.999/TO")
    assert any(a.get("href") == "https://example.org/to" for a in checked.all("a"))


def _url():
    from tests.resolver.http.node_in_process import value

    return (value(1, "URL", "https://example.org/to"), value(2, "DESC", "goes elsewhere"))


async def test_the_code_of_a_page(works):
    """/page/ID/qr.svg is an SVG of the identifier's address; of nothing, 404."""
    answer = await works.ask("GET", f"/page/{COIL}/qr.svg")
    assert answer.status == 200 and answer.headers["Content-Type"] == "image/svg+xml"
    assert f"http://127.0.0.1:{works.http}/{COIL}".encode() in answer.body
    assert (await works.ask("GET", "/page/86.999/NOTHING/qr.svg")).status == 404
    _, _, checked = await page(works, f"/page/{COIL}")
    codes = [a for a in checked.all("svg") if a.get("role") == "img"]
    assert len(codes) == 1


async def test_a_digital_link_has_a_page(works):
    """A GS1 key without links: its page, by walking up for what the serial lacks."""
    from protocol.change import Change, Kind
    from tests.resolver.http.node_in_process import value

    works.node.writer.writer.commit([Change(Kind.HOME, b"GS1.9.5.2.1")])
    works.register("https://id.gs1.org/01/09521234543213", value(1, "DESC", "Pump P7"))
    for path in ("/01/09521234543213/21/S1", "/page/01/09521234543213/21/S1"):
        _, html, _ = await page(works, path)
        assert "<h1>Pump P7</h1>" in html
        assert f"http://127.0.0.1:{works.http}/01/09521234543213/21/S1" in html


async def test_who_asks_for_ever_new_lives_has_to_wait(works):
    """One network gets so many new lives at once; then what is kept here, with a word that it is."""
    told = []
    for thing in (COIL, PALLET, MACHINE, *BLANKS, *PARTS):
        for view in ("life", "recall-all"):
            _, html, checked = await page(works, f"/page/{thing}?view={view}")
            told.append("The other nodes were not asked now" in html)
            assert any(one.get("id") == "whole" for one in checked.all("div"))
    assert not any(told[:10]) and any(told[10:])
    _, html, _ = await page(works, f"/page/{COIL}?view=life")
    assert "The other nodes were not asked now" not in html  # kept from the first time


async def test_a_node_may_ask_no_others_for_its_pages(works):
    """With limits.page_hops at 0 there is no link, and the address of the view says so."""
    settings = works.node.settings
    limits = replace(settings.limits, page_hops=0)
    works.node.settings = replace(settings, limits=limits)
    _, html, _ = await page(works, f"/page/{COIL}")
    assert "view=life" not in html and 'id="asked"' not in html
    _, html, _ = await page(works, f"/page/{COIL}?view=life")
    assert "This node asks no others for its pages" in html
