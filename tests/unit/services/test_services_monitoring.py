"""Dashboard, alerts and scrape configuration name figures and services that exist."""

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
import yaml

from capillary.stage_events import figures
from capillary.stage_events.figures import Gateway
from capillary.stage_events.stage_run import StageRun
from serving.figures import Figures
from tests.support.parts import REPOSITORY

FOLDER = REPOSITORY / "services" / "monitoring"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DASHBOARDS = [f"grafana/dashboards/{name}.json" for name in ("pipeline", "serve")]
FIGURE = re.compile(r"(?:capillary|mlflow)_[a-z_]+")
OF_MLFLOW = {"mlflow_http_request_total", "mlflow_http_request_duration_seconds_bucket"}  # tests/e2e looks at them


def _known(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    names = set(OF_MLFLOW)
    stage = StageRun(address="a", root=FOLDER, inputs={}, outputs=(), params={}, fingerprint="", experiment=None)
    pushed = Gateway(stage, "")
    monkeypatch.setattr(figures, "push_to_gateway", lambda *_, **__: None)
    pushed.start(NOW)
    pushed.end(0, NOW)
    for registry in (Figures().registry, pushed.registry):
        for family in registry.collect():
            names |= {family.name, f"{family.name}_total", f"{family.name}_bucket"}
    return names


@pytest.mark.parametrize("file", [*DASHBOARDS, "alerts.yml"])
def test_every_figure_is_one_that_somebody_has(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = set(FIGURE.findall((FOLDER / file).read_text()))
    assert named
    assert named - _known(monkeypatch) == set()


def test_prometheus_reads_services_of_compose_at_their_ports() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in jobs for each in job["static_configs"] for target in each["targets"]]
    assert {"serve:8080", "mlflow:5000", "pushgateway:9091"} < set(targets)
    for target in targets:
        name, port = target.split(":")
        if name != "localhost":
            assert any(each.endswith(f":{port}") for each in compose[name]["ports"])


@pytest.mark.parametrize("file", DASHBOARDS)
def test_a_dashboard_s_panels_are_apart_and_have_queries(file: str) -> None:
    panels = json.loads((FOLDER / file).read_text())["panels"]
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
