"""The report of a package, as people see it: in a real browser, on screens wide and narrow, and on paper."""

import io
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Error, Page, Request, sync_playwright
from pypdf import PdfReader

from audit_ledger import Ledger
from tests.packages import unpacked

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE, PAPER, SCREEN = 375, 794, 1400  # widths in CSS pixels; A4 is 210 mm wide


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium: that of the system, or the one that playwright has installed."""
    with sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, BROWSERS)), None)
        try:
            started = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"needs Chromium, which is not here: {error}")
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may ask for nothing but itself, nor complain."""
    wrong: list[str] = []

    def on_request(request: Request) -> None:
        if not request.is_navigation_request():
            wrong.append(request.url)

    def on_dialog(dialog: Dialog) -> None:
        wrong.append(dialog.message)
        dialog.dismiss()

    context = browser.new_context()
    opened = context.new_page()
    opened.on("request", on_request)
    opened.on("dialog", on_dialog)
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert wrong == []


@pytest.fixture
def hostile(ledger: Ledger, sealer: Ledger) -> Ledger:
    """A ledger whose names and messages are as long, and as unkind, as they can be."""
    for task in ("t" * 200, "<script>alert(1)</script>", "Auftrag für Käufe", "\u202edrah"):
        with pytest.raises(RuntimeError), ledger.run(task, "https://api.example.com/" + "s" * 150) as run:
            run.ingest_many("Type" * 20, {str(number): {"n": number} for number in range(20)})
            raise RuntimeError("</td><img src=x onerror=alert(2)>" + "e" * 2_000)
    for _ in range(30):
        with ledger.run("nightly", "quiver") as run:
            run.ingest("Trade", str(run.id), {})
    sealer.seal()
    return sealer


def reports(ledger: Ledger, home: Path) -> Iterator[str]:
    """The reports of a complete package and of narrowed ones, as addresses."""
    for narrowed in ({}, {"task": "t" * 200}, {"record": ("Type" * 20, "3")}):
        report = home / "report.html"
        report.write_text(unpacked(ledger.evidence(100, home / "a.zip", force=True, **narrowed).file).report)
        yield report.as_uri()


def test_nothing_is_cut_off_on_any_screen_and_nothing_of_the_data_is_executed(
    hostile: Ledger, page: Page, home: Path
) -> None:
    for address in reports(hostile, home):
        page.goto(address)
        assert page.title().startswith("Evidence: the ledger ")
        assert page.locator("h2").count() == 9
        assert page.locator("script, img").count() == 0
        assert "\u202e" not in page.inner_text("body")  # it would turn around what follows
        for width in (PHONE, PAPER, SCREEN):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints_on_pages_that_have_all_of_it(hostile: Ledger, page: Page, home: Path) -> None:
    for address in reports(hostile, home):
        page.goto(address)
        page.add_style_tag(content="ol, ul { list-style: none }")  # numbers are printed, and are no text
        pages = [sheet.extract_text() for sheet in PdfReader(io.BytesIO(page.pdf(format="A4"))).pages]
        assert 2 <= len(pages) <= 5
        assert squeezed("".join(pages)) == squeezed(page.inner_text("body"))
        headings = page.locator("h2").all_inner_texts()
        assert not any(sheet.strip().endswith(tuple(headings)) for sheet in pages)  # left alone at its foot


def squeezed(text: str) -> str:
    """Text without what only its layout has: spaces, and ligatures."""
    return "".join(unicodedata.normalize("NFKC", text).split())
