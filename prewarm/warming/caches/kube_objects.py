"""What a Kubernetes API is told and tells: Jobs, ImagePullJobs, pods, nodes. Pure functions of documents."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from prewarm.errors import InvalidReference, PrewarmError
from prewarm.references import Reference
from prewarm.warming.caches.hearsay import in_our_words
from prewarm.warming.caches.keys import Seconds
from prewarm.warming.images import Platform

NOTHING = "/prewarm-pulls-and-starts-nothing"  # a command that no image has
GROUP = "apps.kruise.io"
KEPT = 60  # seconds that the cluster keeps what we could not remove

_FAILED = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
     "RegistryUnavailable", "SignatureValidationFailed"}
)  # fmt: skip
_PULLED = frozenset(
    {"CreateContainerError", "CreateContainerConfigError", "RunContainerError", "CrashLoopBackOff"}
)


class KubernetesConfig(BaseModel):
    """Keys of a `kubernetes` cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kubeconfig: Path | None = Field(
        None, description="default: $KUBECONFIG, ~/.kube/config, else the pod's own account"
    )
    context: str | None = Field(None, description="of the kubeconfig; default: its current one")
    namespace: str | None = Field(
        None, description="where Jobs are made; default: the context's, or the pod's"
    )
    selector: str = Field("", description="nodes by label: pool=ci,kubernetes.io/arch=amd64; default: all")
    pull_secrets: tuple[str, ...] = Field((), description="imagePullSecrets in that namespace")
    via: Literal["auto", "jobs", "imagepulljob"] = Field(
        "auto", description="plain Jobs, or OpenKruise's ImagePullJob; auto: the latter where it is installed"
    )
    parallel: int = Field(10, ge=1, le=500, description="nodes that pull one image at once")
    timeout: Seconds = Field(600.0, description="how long one node may take for one image")


@dataclass(frozen=True, slots=True)
class Node:
    """A node that can run pods, and the images that its kubelet lists: the largest fifty, by default."""

    name: str
    uid: str
    platform: Platform
    images: Mapping[str, frozenset[str]]  # canonical name without digest -> digests

    def lists(self, reference: Reference, ids: frozenset[str]) -> bool:
        """Whether the node lists one of the digests under the reference's name."""
        return bool(self.images.get(name_of(reference), frozenset()) & ids)


def job(
    reference: Reference, node: str, labels: Mapping[str, str], config: KubernetesConfig
) -> dict[str, Any]:
    """A Job (batch/v1) whose pod pulls an image on one node, and starts nothing of it."""
    container = {
        "name": "pull",
        "image": str(reference),
        "imagePullPolicy": "Always",
        "command": [NOTHING],
        "resources": {
            "requests": {"cpu": "1m", "memory": "1Mi"},
            "limits": {"cpu": "100m", "memory": "32Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "nodeName": node,
        "restartPolicy": "Never",
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "imagePullSecrets": [{"name": name} for name in config.pull_secrets],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    unmeshed = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": "prewarm-", "labels": dict(labels)},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(config.timeout) + 1,
            "ttlSecondsAfterFinished": KEPT,
            "template": {
                "metadata": {
                    "labels": {**labels, "sidecar.istio.io/inject": "false"},
                    "annotations": unmeshed,
                },
                "spec": pod,
            },
        },
    }


def image_pull_job(
    reference: Reference,
    nodes: Sequence[str],
    labels: Mapping[str, str],
    config: KubernetesConfig,
    version: str,
) -> dict[str, Any]:
    """An ImagePullJob (apps.kruise.io) for these nodes."""
    seconds = int(config.timeout)
    rounds = -(-len(nodes) // config.parallel)
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": "ImagePullJob",
        "metadata": {"generateName": "prewarm-", "labels": dict(labels)},
        "spec": {
            "image": str(reference),
            "imagePullPolicy": "Always",
            "parallelism": config.parallel,
            "selector": {"names": list(nodes)},
            "pullSecrets": list(config.pull_secrets),
            "pullPolicy": {"timeoutSeconds": seconds, "backoffLimit": 1},
            "completionPolicy": {
                "type": "Always",
                "activeDeadlineSeconds": seconds * rounds,
                "ttlSecondsAfterFinished": KEPT,
            },
        },
    }


def verdict(pod: Mapping[str, Any]) -> frozenset[str] | PrewarmError | None:
    """What a pod says: the digests that were pulled, none where it names none, why not, or nothing yet."""
    status = pod.get("status") or {}
    for each in status.get("containerStatuses") or ():
        state = each.get("state") or {}
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in _FAILED:
            return in_our_words("its kubelet", str(waiting.get("message") or waiting["reason"]))
        if "terminated" in state or "running" in state or waiting.get("reason") in _PULLED:
            return digests_in(str(each.get("imageID") or ""))
    if status.get("phase") == "Failed":
        said = status.get("message") or status.get("reason") or "the pod failed"
        return in_our_words("its kubelet", str(said))
    return None


def split(items: Iterable[Mapping[str, Any]]) -> tuple[list[Node], int]:
    """The nodes that are ready, and how many are not."""
    found = [_node(item) for item in items]
    ready = [node for node in found if node is not None]
    return ready, len(found) - len(ready)


def _node(item: Mapping[str, Any]) -> Node | None:
    status, meta = item.get("status") or {}, item["metadata"]
    ready = {each["type"]: each["status"] for each in status.get("conditions") or ()}.get("Ready")
    if ready != "True" or meta.get("deletionTimestamp"):
        return None
    info = status.get("nodeInfo") or {}
    platform = Platform(str(info.get("operatingSystem", "linux")), str(info.get("architecture", "amd64")))
    images: defaultdict[str, set[str]] = defaultdict(set)
    for each in status.get("images") or ():
        names = [name for text in each.get("names") or () if (name := _parsed(text)) is not None]
        digests = {name.digest for name in names if name.digest}
        for name in names:
            images[name_of(name)] |= digests
    known = {name: frozenset(digests) for name, digests in images.items()}
    return Node(str(meta["name"]), str(meta.get("uid") or meta["name"]), platform, known)


def name_of(reference: Reference) -> str:
    """What a kubelet finds an image by: its tag, else its repository, in which digests are looked up."""
    return f"{reference.name}:{reference.tag}" if reference.tag and not reference.digest else reference.name


def _parsed(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


def digests_in(image_id: str) -> frozenset[str]:
    """The digest in an image's id: `docker.io/library/web@sha256:…`, `docker-pullable://…`, `sha256:…`."""
    return frozenset(re.findall(r"sha256:[0-9a-f]{64}", image_id))


def label_value(name: str) -> str:
    """A cache's name as the value of a label."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:63] or "cache"
