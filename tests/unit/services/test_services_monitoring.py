"""Dashboard, alerts and scrape configuration name figures and services that exist."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from serving.figures import Figures
from tests.support.parts import REPOSITORY

FOLDER = REPOSITORY / "services" / "monitoring"
FIGURE = re.compile(r"capillary_[a-z_]+")


def _known() -> set[str]:
    names = set()
    for family in Figures().registry.collect():
        names |= {family.name, f"{family.name}_total", f"{family.name}_bucket"}
    return names


@pytest.mark.parametrize("file", ["grafana/dashboards/serve.json", "alerts.yml"])
def test_every_figure_is_one_that_the_service_has(file: str) -> None:
    named = set(FIGURE.findall((FOLDER / file).read_text()))
    assert named
    assert named - _known() == set()


def test_prometheus_reads_services_of_compose_at_their_ports() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in jobs for each in job["static_configs"] for target in each["targets"]]
    assert "serve:8080" in targets
    for target in targets:
        name, port = target.split(":")
        if name != "localhost":
            assert any(each.endswith(f":{port}") for each in compose[name]["ports"])


def test_the_dashboard_s_panels_are_apart_and_have_queries() -> None:
    panels = json.loads((FOLDER / "grafana/dashboards/serve.json").read_text())["panels"]
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["datasource"]["uid"] == source["datasources"][0]["uid"]
        assert all(target["expr"] for target in panel["targets"])


@pytest.mark.skipif(
    shutil.which("promtool") is None and not os.environ.get("CI"), reason="promtool (package prometheus) is missing"
)
@pytest.mark.parametrize("argv", [("config", "--syntax-only", "prometheus.yml"), ("rules", "alerts.yml")])
def test_promtool_accepts_the_configuration(argv: tuple[str, ...]) -> None:
    checked = subprocess.run(["promtool", "check", *argv], cwd=FOLDER, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
