"""That docs/rayjob.yaml is a RayJob: fields that KubeRay's `ray.io/v1` knows, one image, one shared volume.

The names are those of KubeRay's API reference. No Kubernetes is asked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

yaml: Any = pytest.importorskip("yaml", reason="PyYAML comes with the extra `ray`")

ROOT = Path(__file__).parents[1]
FIELDS = {
    "spec": {
        "activeDeadlineSeconds",
        "backoffLimit",
        "clusterSelector",
        "deletionStrategy",
        "entrypoint",
        "entrypointNumCpus",
        "entrypointNumGpus",
        "entrypointResources",
        "jobId",
        "managedBy",
        "metadata",
        "rayClusterSpec",
        "runtimeEnvYAML",
        "shutdownAfterJobFinishes",
        "submissionMode",
        "submitterConfig",
        "submitterPodTemplate",
        "suspend",
        "ttlSecondsAfterFinished",
    },
    "rayClusterSpec": {
        "autoscalerOptions",
        "enableInTreeAutoscaling",
        "gcsFaultToleranceOptions",
        "headGroupSpec",
        "headServiceAnnotations",
        "managedBy",
        "rayVersion",
        "suspend",
        "workerGroupSpecs",
    },
    "headGroupSpec": {"enableIngress", "headService", "rayStartParams", "serviceType", "template"},
    "workerGroupSpec": {
        "groupName",
        "idleTimeoutSeconds",
        "maxReplicas",
        "minReplicas",
        "numOfHosts",
        "rayStartParams",
        "replicas",
        "scaleStrategy",
        "suspend",
        "template",
    },
}


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "rayjob.yaml").read_text())
    return loaded


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_every_field_is_one_of_a_ray_job(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job) == {"apiVersion", "kind", "metadata", "spec"}
    head, *workers = groups(job)
    assert set(job["spec"]) <= FIELDS["spec"]
    assert set(job["spec"]["rayClusterSpec"]) <= FIELDS["rayClusterSpec"]
    assert set(head) <= FIELDS["headGroupSpec"]
    for worker in workers:
        assert {"groupName", "minReplicas", "maxReplicas", "template"} <= set(worker) <= FIELDS["workerGroupSpec"]
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]


def test_what_ray_is_started_with_is_text(job: dict[str, Any]) -> None:
    words = [word for group in groups(job) for item in group["rayStartParams"].items() for word in item]
    assert words
    assert all(isinstance(word, str) for word in words)


def test_ray_is_the_version_of_the_image(job: dict[str, Any]) -> None:
    [locked] = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == locked


def test_every_pod_has_the_image_and_the_volume_of_the_results(job: dict[str, Any]) -> None:
    images = set()
    for group in groups(job):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        images.add(container["image"])
        [volume] = pod["volumes"]
        [mount] = container["volumeMounts"]
        assert mount["name"] == volume["name"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert f"--directory {mount['mountPath']}" in job["spec"]["entrypoint"]
    assert len(images) == 1
