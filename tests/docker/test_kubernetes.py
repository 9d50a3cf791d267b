"""The Kubernetes manifests: valid by the schemas of old and new clusters, and as careful as the page says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from splunk_hec_kafka.config import load

if TYPE_CHECKING:
    from splunk_hec_kafka.config import SinkConfig

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
MANIFESTS: dict[str, Any] = {path.stem: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yaml")}
CORE = ("configmap", "deployment", "networkpolicy", "poddisruptionbudget", "secret")
POD = MANIFESTS["deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
SCALED = MANIFESTS["scaledobject"]["spec"]
[TRIGGER] = SCALED["triggers"]
LABELS = {"app.kubernetes.io/name": "hec-kafka-sink"}
KEDA = {  # the fields of keda.sh/v1alpha1 ScaledObject, and of its Kafka scaler's metadata
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {
        *("scaleTargetRef", "pollingInterval", "cooldownPeriod", "initialCooldownPeriod", "idleReplicaCount"),
        *("minReplicaCount", "maxReplicaCount", "fallback", "advanced", "triggers"),
    },
    "spec.scaleTargetRef": {"apiVersion", "kind", "name", "envSourceContainerName"},
    "spec.triggers": {"type", "name", "useCachedMetrics", "metricType", "metadata", "authenticationRef"},
    "spec.triggers.metadata": {
        *("bootstrapServers", "consumerGroup", "topic", "lagThreshold", "activationLagThreshold"),
        *("offsetResetPolicy", "allowIdleConsumers", "scaleToZeroOnInvalidOffset", "excludePersistentLag"),
        *("limitToPartitionsWithLag", "ensureEvenDistributionOfPartitions", "partitionLimitation", "version"),
        *("sasl", "tls", "unsafeSsl", "saslTokenProvider"),
    },
    "spec.advanced": {"restoreToOriginalReplicaCount", "horizontalPodAutoscalerConfig", "scalingModifiers"},
    "spec.advanced.horizontalPodAutoscalerConfig": {"name", "behavior"},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SinkConfig:
    """The configuration of the ConfigMap, as the sink reads it beside what the image sets."""
    file = tmp_path_factory.mktemp("config") / "sink.toml"
    file.write_text(MANIFESTS["configmap"]["data"]["sink.toml"])
    return load(file, {"HEC_SINK_SERVER__LISTEN": "0.0.0.0:9099"}).config


@pytest.mark.parametrize("version", ["1.27", "1.37"])
@pytest.mark.parametrize("name", CORE)
def test_the_core_kinds_are_valid(name: str, version: str) -> None:
    """An old and a new cluster take each manifest, without a field they do not know."""
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_every_manifest_is_checked() -> None:
    """No manifest stands in the folder that no test reads, and each names the one sink."""
    assert set(MANIFESTS) == {*CORE, "scaledobject"}
    assert {one["metadata"]["name"] for one in MANIFESTS.values()} == {"hec-kafka-sink"}


def test_the_scaled_object_has_only_fields_that_keda_knows() -> None:
    """KEDA has no schema in the cluster's own: each field is one of its list."""
    for path, known in KEDA.items():
        at: Any = MANIFESTS["scaledobject"]
        for key in filter(None, path.split(".")):
            at = at[key]
            at = at[0] if isinstance(at, list) else at
        assert set(at) <= known, path
    metadata = TRIGGER["metadata"]
    assert all(isinstance(value, str) for value in metadata.values())  # KEDA refuses numbers and booleans
    kubernetes_validate.validate(  # what it hands to the HorizontalPodAutoscaler
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "keda-hpa-hec-kafka-sink"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "hec-kafka-sink"},
                "maxReplicas": SCALED["maxReplicaCount"],
                "behavior": SCALED["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
            },
        },
        "1.37",
        strict=True,
    )


def test_it_does_not_scale_out_while_splunk_is_down(config: SinkConfig) -> None:
    """Lag behind offsets that stand still is not counted, and two looks are more than a commit apart."""
    assert TRIGGER["metadata"]["excludePersistentLag"] == "true"
    assert TRIGGER["useCachedMetrics"] is True
    assert SCALED["pollingInterval"] >= 5 * config.kafka.commit_interval_s
    behavior = SCALED["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    [out] = behavior["scaleUp"]["policies"]
    assert (out["type"], out["value"]) == ("Pods", 1)
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] > 10 * SCALED["pollingInterval"]


def test_the_scaler_looks_at_the_sinks_group(config: SinkConfig) -> None:
    """Brokers, group, topic and start are those of the ConfigMap."""
    metadata = TRIGGER["metadata"]
    assert metadata["bootstrapServers"] == config.kafka.bootstrap_servers
    assert metadata["consumerGroup"] == config.kafka.group_id
    assert [metadata["topic"]] == list(config.kafka.topics)
    assert metadata["offsetResetPolicy"] == config.kafka.start
    assert "replicas" not in MANIFESTS["deployment"]["spec"]  # or each apply would undo the scaler's work


def test_a_pod_has_time_to_end_and_to_start(config: SinkConfig) -> None:
    """Kubernetes kills only after the sink's own time is up, at its end and at its start."""
    assert POD["terminationGracePeriodSeconds"] >= config.run.shutdown_s + 10
    probe = CONTAINER["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > config.run.startup_timeout_s


def test_an_outage_of_splunk_restarts_nothing() -> None:
    """Only /livez can restart a pod; /readyz tells, and does not stand in the way of draining a node."""
    paths = {
        name: CONTAINER[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert MANIFESTS["poddisruptionbudget"]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_pod_can_change_nothing() -> None:
    """It is not root, has no capabilities, no service account, and a read-only root file system."""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] != 0
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] for mount in CONTAINER["volumeMounts"])


def test_the_token_comes_from_the_secret_as_a_file(config: SinkConfig) -> None:
    """The token is in no variable and on no command line, and the file is read again when it changes."""
    [mount] = [one for one in CONTAINER["volumeMounts"] if one["name"] == "token"]
    [key] = MANIFESTS["secret"]["stringData"]
    assert config.hec.token == f"file:{mount['mountPath']}/{key}"
    [volume] = [one for one in POD["volumes"] if one["name"] == "token"]
    assert volume["secret"]["secretName"] == MANIFESTS["secret"]["metadata"]["name"]
    assert "env" not in CONTAINER


def test_the_policies_mean_the_deployments_pods() -> None:
    """All select the same pods, and the network policy lets through what a sink needs."""
    policy = MANIFESTS["networkpolicy"]["spec"]
    assert MANIFESTS["deployment"]["spec"]["template"]["metadata"]["labels"] == LABELS
    assert policy["podSelector"]["matchLabels"] == LABELS
    assert MANIFESTS["poddisruptionbudget"]["spec"]["selector"]["matchLabels"] == LABELS
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 9092, 8088]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == [9099]
