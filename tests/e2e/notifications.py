"""What a registry tells of the pulls that it served (CNCF Distribution, "Notifications")."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any


def envelope(numbers: Iterable[int], name: str = "") -> bytes:
    """The body of one request."""
    return json.dumps({"events": [event(number, name) for number in numbers]}).encode()


def event(number: int, name: str = "") -> dict[str, Any]:
    """A client of its own fetches a manifest, just now; its request is `q<number>`, after the `name`."""
    repository = f"acme/app{number % 50}"
    return {
        "id": f"{name}e{number}",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "action": "pull",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "repository": repository,
            "url": f"http://mirror:5000/v2/{repository}/manifests/1.0",
            "tag": "1.0",
        },
        "request": {
            "id": f"{name}q{number}",
            "addr": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:1",
            "host": "mirror:5000",
            "method": "GET",
            "useragent": "docker/29",
        },
    }
