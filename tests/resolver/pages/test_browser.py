"""The pages in a real browser: Debian's chromium, on a phone and a desk, in both languages.

Screenshots go to $BIAOSHI_SCREENSHOTS, else to the test's own folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.resolver.http.node_in_process import value
from tests.resolver.pages.works import COIL, MACHINE, PARTS

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
CONTRAST = """
const number = text => text.match(/[\\d.]+/g).map(Number);
const light = rgb => rgb.slice(0, 3).map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const paper = element => {
  for (let at = element; at; at = at.parentElement) {
    const found = number(getComputedStyle(at).backgroundColor);
    if (found.length < 4 || found[3] > 0) { return found; }
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll('h1,h2,h3,p,a,dt,dd,li,span,summary,button,td,th')]
  .filter(one => !one.closest('svg') && one.textContent.trim() && one.getClientRects().length)
  .map(one => {
    const [a, b] = [light(number(getComputedStyle(one).color)), light(paper(one))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 120)];
  }).filter(pair => pair[0] < 4.5);
"""

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="needs chromium and chromedriver (apt-get install chromium chromium-driver)",
    ),
    pytest.mark.timeout(90),
]


class Browser:
    """Chromium with a fresh profile, and what it asked for."""

    def __init__(self, folder, size, language, *, script=True):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        width, height = SIZES[size]
        for flag in (
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},{height}",
            f"--lang={language}",
        ):
            options.add_argument(flag)
        prefs = {"intl.accept_languages": language}
        if not script:
            prefs["profile.managed_default_content_settings.javascript"] = 2
        options.add_experimental_option("prefs", prefs)
        logged = {"performance": "ALL", "browser": "ALL"}
        options.set_capability("goog:loggingPrefs", logged)
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        metrics["mobile"] = size == "phone"
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.set_page_load_timeout(60)

    def asked(self):
        """The addresses of all requests so far."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def shoot(self, folder, name):
        """A picture of the whole page."""
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        width = self.driver.execute_script("return window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 8000), "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        from base64 import b64decode

        (folder / f"{name}.png").write_bytes(b64decode(shot["data"]))

    def open(self, url):
        """Go to a page and wait until it asks nothing more for the place of what all companies say."""
        self.driver.get(url)
        WebDriverWait(self.driver, 60).until(
            lambda driver: driver.execute_script(
                "const asked = document.getElementById('asked'), "
                "whole = document.getElementById('whole');"
                "return !asked || asked.textContent !== whole.dataset.asking;"
            )
        )

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)


@pytest.fixture
def shots(tmp_path):
    folder = Path(os.environ.get("BIAOSHI_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _accessible(browser):
    """What a checker of accessibility looks at first; contrast in the colours as computed."""
    driver = browser.driver
    levels = [int(one.tag_name[1]) for one in browser.all("h1,h2,h3,h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for selector in ("main", "header", "footer", "nav[aria-label]"):
        assert len(browser.all(selector)) == 1, selector
    for image in browser.all("svg"):
        assert image.find_element(By.TAG_NAME, "title").get_attribute("textContent")
    for control in browser.all("a[href],button"):
        said = control.get_attribute("textContent") or control.get_attribute("aria-label")
        assert said.strip(), control.get_attribute("outerHTML")
    assert driver.execute_script(CONTRAST) == []


def _fits(browser):
    """Nothing makes the page wider than the screen."""
    widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
    wide, screen = browser.driver.execute_script(widths)
    assert wide <= screen


def _look(browser, base, size, language, shots):
    page = f"{base}/page/{PARTS[0]}"
    heading = {"en": "stamped part 1", "zh-CN": "冲压件 1"}[language]
    tag = {"en": "en", "zh-CN": "zh-Hans"}[language]
    for view in ("", "?view=life", "?view=recall", "?view=recall-all", "?view=certificate"):
        browser.open(page + view)
        assert browser.one("html").get_attribute("lang") == tag
        assert heading in browser.one("main").text
        _accessible(browser)
        _fits(browser)
        browser.shoot(shots, f"{size}-{tag}-{view.rpartition('=')[2] or 'page'}")
    browser.open(page)
    _explore(browser)
    errors = [entry for entry in browser.driver.get_log("browser") if entry["level"] != "INFO"]
    assert errors == []
    assert {urlsplit(url).netloc for url in browser.asked() if url[:4] == "http"} == {base[7:]}


def _explore(browser):
    """A line of the picture opens its words; filters filter; a box leads to a page."""
    driver = browser.driver
    target = browser.one(".graph a[href^='#edge-']").get_dom_attribute("href")
    driver.execute_script("location.hash = arguments[0]", target)
    number = target.rpartition("#")[2]
    WebDriverWait(driver, 10).until(lambda _: browser.one(f"#{number}").get_attribute("open"))
    assert browser.one(f"#{number} p").is_displayed()
    every = len(browser.all("ol.life > li"))
    driver.execute_script("document.querySelector('[data-family=service]').click()")
    left = [one for one in browser.all("ol.life > li") if one.is_displayed()]
    assert 0 < len(left) < every
    box = browser.one(f".graph a[data-node][href*='{MACHINE}']")
    driver.execute_script("arguments[0].dispatchEvent(new FocusEvent('focusin'))", box)
    assert "lit" in box.get_attribute("class")
    browser.open(
        driver.execute_script(
            "return new URL(arguments[0], location).href", box.get_dom_attribute("href")
        )
    )
    assert "press machine 1" in driver.title or "冲床 1" in driver.title


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_pages_in_a_browser(works, tmp_path, shots, monkeypatch, size, language):
    """All views are readable, accessible, fit the screen, log no error and ask nobody else."""
    monkeypatch.setattr("resolver.pages.render._FEW_RELATIONS", 2)  # So that they are folded.

    def run():
        browser = Browser(tmp_path, size, language)
        try:
            _look(browser, f"http://127.0.0.1:{works.http}", size, language, shots)
        finally:
            browser.driver.quit()

    await asyncio.to_thread(run)
    assert list(shots.glob(f"{size}-*.png"))


async def test_the_essentials_need_no_script(works, tmp_path, shots):
    """With script off: name, badges, life, picture with its links, the code, the certificate."""

    def run():
        browser = Browser(tmp_path, "phone", "en", script=False)
        try:
            base = f"http://127.0.0.1:{works.http}"
            browser.driver.get(f"{base}/page/{COIL}")
            assert browser.one("h1").text == "cold rolled coil 1"
            assert len(browser.all("ul.badges li")) >= 2
            assert len(browser.all("ol.life > li")) == 2
            assert browser.one(".qr svg").is_displayed()
            assert len(browser.all(".graph a[href]")) > 8
            assert not browser.one(".filters").is_displayed()
            browser.one("a[href$='view=certificate']").click()
            assert "Certificate" in browser.one("h1").text
            browser.shoot(shots, "phone-no-script-certificate")
        finally:
            browser.driver.quit()

    await asyncio.to_thread(run)


@pytest.mark.parametrize("size", list(SIZES))
async def test_long_names_fit(works, tmp_path, size):
    """Names and texts without a place to break make no page wider than the screen; nor do faults."""
    long = "Pump" * 100
    texts = {"0.NAME": long, "DESC": long, "SITE": f"https://example.org/{long}", "NOTE": long}
    values = [value(at, *text) for at, text in enumerate(texts.items(), start=1)]
    works.register("86.999/LONG", *values)

    def run():
        browser = Browser(tmp_path, size, "en")
        try:
            for path in ("page/86.999/LONG", "86.999/none", "01/09521234543207"):
                browser.driver.get(f"http://127.0.0.1:{works.http}/{path}")
                _fits(browser)
        finally:
            browser.driver.quit()

    await asyncio.to_thread(run)
