"""What KubeRay's CRDs (ray.io/v1 of August 2026) allow in the objects that we render: names, types, what is required.

Only as deep as we write: whatever is an object there and not ours is any object here. A pod's template is checked with
Kubernetes' own schema.
"""

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
ANY: Schema = {"type": "object"}


def _object(fields: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def _typed(kind: Schema, names: str) -> Schema:
    return dict.fromkeys(names.split(), kind)


TEMPLATE = _object({"metadata": ANY, "spec": ANY}, "spec")
_GROUP = {**_typed(TEXTS, "labels rayStartParams resources"), "template": TEMPLATE}
HEAD = _object(
    {**_GROUP, **_typed(ANY, "headService ingressOptions"), "enableIngress": FLAG, "serviceType": TEXT}, "template"
)
WORKERS = _object(
    {
        **_GROUP,
        **_typed(COUNT, "idleTimeoutSeconds maxReplicas minReplicas numOfHosts priority replicas"),
        "groupName": TEXT,
        "scaleStrategy": ANY,
        "suspend": FLAG,
    },
    *("groupName", "maxReplicas", "minReplicas", "template"),
)
CLUSTER_SPEC = _object(
    {
        **_typed(ANY, "authOptions autoscalerOptions gcsFaultToleranceOptions historyServerOptions networkPolicy"),
        **_typed(ANY, "tlsOptions upgradeStrategy"),
        **_typed(FLAG, "enableInTreeAutoscaling suspend"),
        **_typed(TEXT, "managedBy rayVersion"),
        "headServiceAnnotations": TEXTS,
        "headGroupSpec": HEAD,
        "workerGroupSpecs": {"type": "array", "items": WORKERS},
    },
    "headGroupSpec",
)
JOB_SPEC = _object(
    {
        **_typed(TEXT, "entrypoint entrypointResources jobId managedBy runtimeEnvYAML"),
        **_typed(NUMBER, "entrypointNumCpus entrypointNumGpus"),
        **_typed(COUNT, "activeDeadlineSeconds backoffLimit ttlSecondsAfterFinished"),
        **_typed(FLAG, "shutdownAfterJobFinishes suspend"),
        **_typed(ANY, "deletionStrategy metadata submitterConfig submitterPodTemplate"),
        "clusterSelector": TEXTS,
        "preRunningDeadlineSeconds": {**COUNT, "minimum": 1},
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "rayClusterSpec": CLUSTER_SPEC,
    }
)
METADATA = _object({**_typed(TEXT, "name generateName namespace"), **_typed(TEXTS, "labels annotations")})


def schema_of(kind: str) -> Schema:
    """The schema of a RayCluster or a RayJob."""
    spec = {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC}[kind]
    fields = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}, "metadata": METADATA, "spec": spec}
    return _object(fields, *fields)
