"""The service's page in a real browser: send a stack, follow it, look at it with its mask, save the mask."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from serving.models.view import write_view
from serving.routes.page import STATIC
from tests.support.parts import require
from tests.support.serving.browser import SOFTWARE_GL, Browser, open_browser
from tests.unit.serving.conftest import TOKEN, Running, starting, until
from tests.unit.serving.test_view import Planes

LAPTOP, PHONE = 700, 390
DROP = """
const carried = new DataTransfer();
carried.items.add(new File([arguments[0]], 'mouse7.tif'));
document.getElementById('drop').dispatchEvent(new DragEvent('drop', {dataTransfer: carried, cancelable: true}));
"""
CHOOSE = """
const [id, value] = arguments, element = document.getElementById(id);
if (element.type === 'checkbox') element.checked = value; else element.value = value;
element.dispatchEvent(new Event('input', {bubbles: true}));
"""
PRESS = """
const found = [...document.querySelectorAll('#jobs button')].find((each) => each.textContent === arguments[0]);
if (found) found.click();
return Boolean(found);
"""
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Page:
    """The page of `running` in a browser, as a person uses it."""

    def __init__(self, browser: Browser, running: Running, downloads: Path) -> None:
        self.driver = browser.driver
        behaviour = {"behavior": "allow", "downloadPath": str(downloads)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        self.width(LAPTOP)
        self.driver.get(f"{running.url}/")

    def width(self, pixels: int) -> None:
        screen = {"width": pixels, "height": 420, "deviceScaleFactor": 1, "mobile": pixels < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def choose(self, element: str, value: object) -> None:
        self.driver.execute_script(CHOOSE, element, value)

    def press(self, label: str) -> None:
        """A button of the list of stacks, as soon as it is there."""
        until(lambda: self.driver.execute_script(PRESS, label))

    def text(self, element: str) -> str:
        return self.driver.find_element(By.ID, element).text

    def red(self) -> NDArray[np.bool_]:
        """Where the viewer shows the mask, pixel by pixel."""
        shot = self.driver.find_element(By.ID, "canvas").screenshot_as_png
        pixels = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)
        return pixels[..., 0] > pixels[..., 1:].max(axis=2) + 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a small stack with a vessel of 6 × 6 voxels through its middle, in the form in which a worker leaves it."""
    folder = tmp_path_factory.mktemp("page")
    mask = np.zeros((5, 24, 24), np.uint8)
    mask[1:4, 9:15, 9:15] = 1
    stack = np.random.default_rng(0).integers(0, 90, mask.shape, np.uint8) + 150 * mask
    write_view(folder / "view_stack.nii.gz", folder / "view_mask.nii.gz", Planes(stack), Planes(mask), (2, 1, 1))
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    require((STATIC / "niivue.js").is_file(), "the page's viewer (sh serving/page/build.sh)")
    with starting(folder) as begin, open_browser(folder / "profile", SOFTWARE_GL) as browser:
        yield Page(browser, begin(tokens=()), folder / "downloads")


def test_a_stack_is_sent_followed_shown_and_its_mask_saved(page: Page, folder: Path) -> None:
    """The mask is over the slices and the projection, nothing else is red, and a phone needs no sideways scrolling."""
    page.driver.execute_script(DROP, f"show {folder}")
    page.press("View")
    until(lambda: page.text("slice-number") == "3 of 5")
    until(lambda: 0.02 < page.red().mean() < 0.2)
    page.choose("overlay", value=False)
    until(lambda: not page.red().any())  # no crosshair either
    page.choose("overlay", value=True)

    page.driver.find_element(By.ID, "canvas").send_keys(Keys.ARROW_UP, Keys.ARROW_UP)
    assert page.text("slice-number") == "5 of 5"
    until(lambda: not page.red().any())  # the vessel ends before
    page.width(PHONE)
    page.choose("kind", "projection")
    until(lambda: page.red().any())
    assert page.driver.execute_script(OVERFLOW) == 0

    page.press("Download")
    saved = folder / "downloads" / "mouse7_mask.tif"
    until(saved.is_file)
    assert saved.read_bytes().startswith(b"mask of show")
    page.press("Remove")
    until(lambda: page.text("jobs") == "")
    complaints = [line for line in page.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    assert complaints == []


def test_progress_and_failure_are_said_in_words(page: Page, folder: Path) -> None:
    """A job that runs shows its share; one that failed shows the reason and the remedy."""
    page.driver.execute_script(DROP, f"wait {folder / 'go'}")
    until(lambda: "50 %" in page.text("jobs"))
    (folder / "go").touch()
    page.press("Remove")
    until(lambda: page.text("jobs") == "")
    page.driver.execute_script(DROP, "bad")
    until(lambda: "this is no stack – send another" in page.text("jobs"))


def test_a_token_is_asked_for_where_one_can_enter_it(page: Page, tmp_path: Path) -> None:
    """The API's remedy, a header, is of no use to a person at a page."""
    with starting(tmp_path) as begin:
        page.driver.get(f"{begin().url}/")
        until(lambda: page.text("problem") == "no token – enter your token above")
        page.driver.find_element(By.ID, "token").send_keys(TOKEN, Keys.ENTER)
        until(lambda: page.text("model") == "vessels version 1 answers")
        assert page.text("problem") == ""
