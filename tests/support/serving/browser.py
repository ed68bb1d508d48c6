"""A real browser without a window: Debian's chromium, driven by selenium."""

import base64
import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.support.parts import require

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
LAYOUT = """
const wide = document.documentElement;
return {
  overflow: wide.scrollWidth - wide.clientWidth,
  broken: [...document.images].filter(image => !image.complete || image.naturalWidth === 0).length,
  images: document.images.length,
  withoutAlt: [...document.images].filter(image => !image.alt).length,
  unnamed: [...document.querySelectorAll('svg.chart')].filter(chart => !chart.getAttribute('aria-label')).length,
  charts: document.querySelectorAll('svg.chart').length,
  withoutCaption: [...document.querySelectorAll('table')].filter(table => !table.caption).length,
  outside: [...document.querySelectorAll('body *')].filter(one => {
    const box = one.getBoundingClientRect();
    return box.width && box.right > wide.clientWidth + 1 && !one.closest('.scroll') && !one.closest('svg');
  }).map(one => one.outerHTML.slice(0, 120)),
  background: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  texts: document.body.innerText,
};
"""


@dataclass(frozen=True, kw_only=True)
class PageView:
    """A page as the browser laid it out."""

    layout: dict[str, Any]
    complaints: list[str]  # of the console
    foreign: list[str]  # addresses that the page asked for and does not carry


class Browser:
    """One browser; each look loads the page again."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, page: Path, *, width: int, dark: bool, picture: Path | None = None, height: int = 900) -> PageView:
        """`page` in a window of `width` pixels, in light or dark; the whole of it in the PNG `picture`."""
        driver = self.driver
        driver.get("about:blank")
        for log in ("browser", "performance"):
            driver.get_log(log)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        driver.get(page.as_uri())
        layout = driver.execute_script(LAYOUT)
        if picture:
            self._photograph(picture)
        return PageView(
            layout=layout,
            complaints=[str(line["message"]) for line in driver.get_log("browser")],
            foreign=[one for one in self._requests() if one != page.as_uri() and not one.startswith("data:")],
        )

    def _photograph(self, file: Path) -> None:
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        file.write_bytes(base64.b64decode(shot["data"]))

    def _requests(self) -> Iterator[str]:
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                yield message["params"]["request"]["url"]


@contextlib.contextmanager
def open_browser(profile: Path, flags: Sequence[str] = ("--disable-gpu",)) -> Iterator[Browser]:
    """A browser with an empty profile in `profile`; skips the test without chromium, fails it in CI."""
    require(os.access(CHROMIUM, os.X_OK), "chromium (Debian: apt-get install chromium)")
    require(shutil.which(DRIVER) is not None, "chromedriver (Debian: apt-get install chromium-driver)")
    options = Options()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
