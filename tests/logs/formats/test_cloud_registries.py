"""What the clouds log of their registries: Amazon ECR, Google Artifact Registry, Azure Container Registry."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from prewarm.logs import pulls
from prewarm.logs.formats import Hints, Parsed, acr, artifact_registry, ecr
from prewarm.logs.formats.records import Records

DIGEST = "sha256:" + "0f" * 32
LAYER = "sha256:" + "9a" * 32
ACR = {
    "TimeGenerated": "2026-11-24T09:15:02.3112041Z",
    "LoginServer": "example.azurecr.io",
    "OperationName": "Pull",
    "Category": "ContainerRegistryRepositoryEvents",
    "CorrelationId": "c1",
    "CallerIpAddress": "203.0.113.12",
    "Repository": "platform/api",
    "Tag": "1.42.0",
    "Digest": DIGEST,
    "MediaType": "application/vnd.oci.image.manifest.v1+json",
    "ResultDescription": "200",
}


def call(
    name: str, client: str = "203.0.113.12", error: str | None = None, **parameters: Any
) -> dict[str, Any]:
    """A record of CloudTrail."""
    return {
        "eventTime": "2026-11-24T09:15:02Z",
        "eventSource": "ecr.amazonaws.com",
        "eventName": name,
        "awsRegion": "us-east-2",
        "sourceIPAddress": client,
        "userAgent": "containerd/1.7.22",
        "errorCode": error,
        "requestParameters": {"registryId": "123456789012", "repositoryName": "platform/api"} | parameters,
        "responseElements": {"image": {"imageId": {"imageDigest": DIGEST}}} if name == "PutImage" else None,
        "eventID": f"id-{name}",
    }


def fetched(method: str, path: str, code: int | None = None, **payload: Any) -> dict[str, Any]:
    """An entry of Google's audit log."""
    return {
        "protoPayload": {
            "serviceName": "artifactregistry.googleapis.com",
            "methodName": "Docker-Something",
            "resourceName": "projects/p/locations/europe-west2/repositories/images/dockerImages/api",
            "requestMetadata": {"callerIp": "10.20.1.17", "callerSuppliedUserAgent": "containerd/v1.7.22"},
            "request": {"requestMethod": method, "requestUrl": f"/v2/p/images/api/{path}"},
            "status": None if code is None else {"code": code},
        }
        | payload,
        "insertId": path[-4:],
        "timestamp": "2026-11-24T09:15:02.311204118Z",
    }


def parse(format: Records, *records: dict[str, Any]) -> Parsed:
    lines = [json.dumps(record) for record in records]
    return format.parse(pl.DataFrame({"offset": range(len(lines)), "line": lines}), Hints())


def collapsed(parsed: Parsed) -> list[dict[str, Any]]:
    requests = pulls.merge_requests(parsed.accesses)
    return list(pulls.collapse(pulls.sessions(requests)).iter_rows(named=True))


def test_ecr_fetches_by_tag_digest_and_layer_are_one_pull() -> None:
    """CloudTrail does not tell HEAD from GET: only a layer shows the kind."""
    image = call("BatchGetImage", imageIds=[{"imageTag": "1.42.0"}])
    platform = call("BatchGetImage", imageIds=[{"imageDigest": DIGEST}])
    layer = call("GetDownloadUrlForLayer", layerDigest=LAYER)
    (manifests,) = collapsed(parse(ecr.CLOUDTRAIL, image, platform))
    (layers,) = collapsed(parse(ecr.CLOUDTRAIL, image, platform, layer))
    assert [(each["tag"], each["kind"], each["blobs"]) for each in (manifests, layers)] == [
        ("1.42.0", None, 0),
        ("1.42.0", "layers", 1),
    ]
    assert layers["registry"] == "123456789012.dkr.ecr.us-east-2.amazonaws.com"
    assert layers["keys"] == ["id-BatchGetImage", "id-GetDownloadUrlForLayer"]


def test_ecr_is_asked_for_several_images_at_once() -> None:
    """Each is a pull."""
    ids = [{"imageTag": "1"}, {"imageTag": "2"}]
    assert [
        each["tag"] for each in collapsed(parse(ecr.CLOUDTRAIL, call("BatchGetImage", imageIds=ids)))
    ] == ["1", "2"]


@pytest.mark.parametrize(
    ("record", "statuses"),
    [
        (call("BatchGetImage", error="ImageNotFoundException", imageIds=[{"imageTag": "1"}]), ["missed"]),
        (call("BatchGetImage", error="AccessDeniedException", imageIds=[{"imageTag": "1"}]), []),
        (call("GetDownloadUrlForLayer", "AWS Internal", layerDigest=LAYER), []),
        (call("DescribeImages"), []),
        (call("BatchGetImage") | {"eventSource": "s3.amazonaws.com"}, []),
        (call("BatchGetImage", "AWS Internal", imageIds=[{"imageTag": "1"}]), ["ok"]),
    ],
)
def test_ecr_calls_that_fetch_nothing(record: dict[str, Any], statuses: list[str]) -> None:
    """What is absent was missed; a service of AWS has no address, but pulls."""
    parsed = parse(ecr.CLOUDTRAIL, record)
    assert [each["status"] for each in collapsed(parsed)] == statuses
    assert sum(parsed.ignored.values()) == (0 if statuses else 1)
    assert [each["client"] for each in collapsed(parsed) if each["status"] == "ok"] == [
        None
    ] * statuses.count("ok")


def test_ecr_pushes_are_told_by_both() -> None:
    """CloudTrail's PutImage, EventBridge's image action; that ECR fills its own cache is no demand."""
    event = {
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "region": "us-east-2",
        "time": "2026-11-24T09:15:02Z",
        "id": "e1",
        "detail": {
            "action-type": "PUSH",
            "result": "SUCCESS",
            "repository-name": "platform/api",
            "image-tag": "1.42.0",
            "image-digest": DIGEST,
        },
    }
    put = pulls.pushes(parse(ecr.CLOUDTRAIL, call("PutImage", imageTag="1.42.0")).accesses)
    told = parse(ecr.EVENTBRIDGE, event, event | {"detail-type": "ECR Pull Through Cache Action"})
    assert put.equals(pulls.pushes(told.accesses))
    assert put.row(0)[2:] == (
        "123456789012.dkr.ecr.us-east-2.amazonaws.com",
        "platform/api",
        "1.42.0",
        DIGEST,
    )
    assert sum(told.ignored.values()) == 1


def test_eventbridge_may_pass_on_cloudtrail() -> None:
    """Then it tells of pulls as CloudTrail does."""
    record = call("BatchGetImage", imageIds=[{"imageTag": "1"}])
    event = {"detail-type": "AWS API Call via CloudTrail", "source": "aws.ecr", "detail": record}
    assert collapsed(parse(ecr.EVENTBRIDGE, event)) == collapsed(parse(ecr.CLOUDTRAIL, record))


def test_google_tells_requests() -> None:
    """HEAD by tag, GET by digest and a blob are one pull, named as images of Artifact Registry are."""
    parsed = parse(
        artifact_registry.FORMAT,
        fetched("HEAD", "manifests/1.42.0"),
        fetched("GET", f"manifests/{DIGEST}"),
        fetched("GET", f"blobs/{LAYER}"),
    )
    (pull,) = collapsed(parsed)
    assert (pull["registry"], pull["repository"]) == ("europe-west2-docker.pkg.dev", "p/images/api")
    assert (pull["tag"], pull["digest"], pull["kind"]) == ("1.42.0", DIGEST, "layers")
    (check,) = collapsed(parse(artifact_registry.FORMAT, fetched("HEAD", "manifests/1.42.0")))
    assert check["kind"] == "check"


@pytest.mark.parametrize(("code", "statuses"), [(0, ["ok"]), (5, ["missed"]), (7, [])])
def test_google_tells_failures_by_code(code: int, statuses: list[str]) -> None:
    """Those of google.rpc.Code: not found is missed demand, a refusal is none."""
    parsed = parse(artifact_registry.FORMAT, fetched("GET", "manifests/1", code))
    assert [each["status"] for each in collapsed(parsed)] == statuses


def test_google_pushes_and_other_services() -> None:
    """A PUT of a manifest is a push; other calls are ignored."""
    parsed = parse(
        artifact_registry.FORMAT,
        fetched("PUT", "manifests/1"),
        fetched("GET", "manifests/1", serviceName="storage.googleapis.com"),
        fetched("GET", "manifests/1", request=None),
    )
    assert pulls.pushes(parsed.accesses)["tag"].to_list() == ["1"]
    assert sum(parsed.ignored.values()) == 2


def test_azure_rows_by_tag_and_by_digest_are_one_pull() -> None:
    """Of one client; whether bytes moved is unknown."""
    (pull,) = collapsed(parse(acr.FORMAT, ACR, ACR | {"Tag": ""}))
    assert (pull["registry"], pull["tag"], pull["digest"], pull["kind"]) == (
        "example.azurecr.io",
        "1.42.0",
        DIGEST,
        None,
    )


@pytest.mark.parametrize(
    ("changes", "pulled", "pushed", "ignored"),
    [
        ({"OperationName": "Push"}, [], ["1.42.0"], 0),
        ({"OperationName": "Push", "ResultDescription": "401"}, [], [], 0),
        ({"ResultDescription": "404"}, ["missed"], [], 0),
        ({"OperationName": "Purge"}, [], [], 1),
        ({"MediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}, [], [], 1),
        ({"OperationName": "Login", "Category": "ContainerRegistryLoginEvents"}, [], [], 1),
    ],
)
def test_azure_operations(
    changes: dict[str, Any], pulled: list[str], pushed: list[str], ignored: int
) -> None:
    """Pushes are pushes, what is absent was missed, the rest is ignored."""
    parsed = parse(acr.FORMAT, ACR | changes)
    assert [each["status"] for each in collapsed(parsed)] == pulled
    assert pulls.pushes(parsed.accesses)["tag"].to_list() == pushed
    assert sum(parsed.ignored.values()) == ignored


@pytest.mark.parametrize(
    ("format", "record"),
    [
        (ecr.CLOUDTRAIL, {"eventSource": "ecr.amazonaws.com"}),
        (ecr.CLOUDTRAIL, call("BatchGetImage", imageIds=[])),
        (ecr.CLOUDTRAIL, call("BatchGetImage", imageIds=[{"imageTag": "1"}]) | {"eventTime": "soon"}),
        (ecr.EVENTBRIDGE, {"detail-type": "ECR Image Action", "source": "aws.s3"}),
        (artifact_registry.FORMAT, {"protoPayload": {}}),
        (artifact_registry.FORMAT, fetched("GET", "manifests/1") | {"timestamp": None}),
        (acr.FORMAT, {"LoginServer": "example.azurecr.io"}),
        (acr.FORMAT, ACR | {"Repository": "NOT A NAME"}),
    ],
)
def test_bad_records_are_malformed(format: Records, record: dict[str, Any]) -> None:
    """No record, no time, no name."""
    assert sum(parse(format, record).malformed.values()) == 1
