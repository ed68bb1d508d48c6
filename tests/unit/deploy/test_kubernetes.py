"""The manifest of the service: right by Kubernetes' own schema, and no more rights than it needs."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.settings import ServeSettings
from tests.support.parts import REPOSITORY

OBJECTS = list(yaml.safe_load_all((REPOSITORY / "deploy/kubernetes/serve.yaml").read_text()))


def the(kind: str) -> Any:
    (found,) = [each for each in OBJECTS if each["kind"] == kind]
    return found


@pytest.mark.parametrize("each", OBJECTS, ids=lambda each: str(each["kind"]))
def test_an_object_is_right_by_the_schema(each: dict[str, Any]) -> None:
    """Strictly: an unknown key is an error."""
    kubernetes_validate.validate(each, "1.37", strict=True)


def test_a_pod_is_nobody_and_writes_to_its_mounts_only() -> None:
    """As Kubernetes' restricted profile asks."""
    pod = the("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys() & container["resources"]["requests"].keys()
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_the_grace_periods_fit() -> None:
    """The service drains before Kubernetes kills it; no secret is written down; variables are the service's own."""
    pod = the("Deployment")["spec"]["template"]["spec"]
    variables = {each["name"]: each for each in pod["containers"][0]["env"]}
    assert int(variables["CAPILLARY_GRACE_S"]["value"]) + 10 < pod["terminationGracePeriodSeconds"]
    secret = {name for name, each in variables.items() if "value" not in each}
    assert secret == {"CAPILLARY_SERVE_TOKENS", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    known = {str(field.validation_alias) for field in ServeSettings.model_fields.values()}
    assert {name for name in variables if name.startswith("CAPILLARY_SERVE")} <= known


def test_the_selectors_meet() -> None:
    """Service, policy and budget lead to the pods of the deployment."""
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert the("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert the("Service")["spec"]["selector"] == labels
    assert the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
