"""What Harbor is asked by its API (v2.0), and the policies that it is given."""

from __future__ import annotations

import json
from typing import Any

from prewarm.errors import CacheError, NotFound
from prewarm.references import Reference
from prewarm.warming.caches.hearsay import in_our_words
from prewarm.warming.caches.json_api import JsonApi, Refused
from prewarm.warming.images import Image

API = "/api/v2.0"
PAGE = {"page_size": "100"}  # what Harbor gives at most


class Api:
    """What is asked of Harbor."""

    def __init__(self, api: JsonApi) -> None:
        self._api = api

    async def version(self) -> str:
        """Harbor's version, which a login may see."""
        return str((await self._get("/systeminfo")).get("harbor_version") or "of an unknown version")

    async def project(self, name: str) -> dict[str, Any]:
        """A project by its name."""
        return dict(await self._get(f"/projects/{name}"))

    async def endpoint(self, name: str) -> int:
        """The id of a registry endpoint; CacheError lists the known ones."""
        known = await self._list("/registries")
        for each in known:
            if each.get("name") == name:
                return int(each["id"])
        names = ", ".join(sorted(str(each.get("name")) for each in known)) or "none"
        raise CacheError(
            f"Harbor has no registry endpoint called {name!r} (Administration, Registries); it has: {names}"
        )

    async def provider(self, project: str, name: str | None) -> int:
        """The id of a project's P2P provider, the default one when none is named."""
        known = await self._list(f"/projects/{project}/preheat/providers")
        usable = [each for each in known if each.get("enabled")]
        for each in usable:
            if each.get("provider") == name or (name is None and each.get("default")):
                return int(each["id"])
        if name is None and usable:
            return int(usable[0]["id"])
        names = ", ".join(sorted(str(each.get("provider")) for each in usable)) or "none"
        raise CacheError(
            f"project {project} has no P2P provider {name or ''}".rstrip() + f"; it has: {names}"
        )

    async def replicate(self, policy: dict[str, Any]) -> str:
        """Set the policy of that name, and execute it once; the path of the execution."""
        path = "/replication/policies"
        known = [each for each in await self._list(path) if each.get("name") == policy["name"]]
        if known:
            id = int(known[0]["id"])
            await self._api.ask("PUT", f"{API}{path}/{id}", body=policy)
        else:
            made = await self._api.ask("POST", f"{API}{path}", body=policy)
            id = int(made.location.rpartition("/")[2])
        started = await self._api.ask("POST", f"{API}/replication/executions", body={"policy_id": id})
        return f"/replication/executions/{started.location.rpartition('/')[2]}"

    async def preheat(self, project: str, policy: dict[str, Any]) -> str:
        """Set the project's policy of that name, and execute it once; the path of the execution."""
        path = f"/projects/{project}/preheat/policies"
        one = f"{path}/{policy['name']}"
        try:
            known = await self._get(one)
            await self._api.ask("PUT", f"{API}{one}", body=policy | {"id": known["id"]})
        except Refused as refused:
            if refused.status != 404:
                raise
            await self._api.ask("POST", f"{API}{path}", body=policy)
        policy = policy | {"id": (await self._get(one))["id"]}
        started = await self._api.ask("POST", f"{API}{one}", body=policy)
        return f"{one}/executions/{started.location.rpartition('/')[2]}"

    async def execution(self, path: str) -> dict[str, Any]:
        """An execution as it is now."""
        return dict(await self._get(path))

    async def stop(self, path: str) -> None:
        """Ask Harbor to stop an execution."""
        method, body = ("PUT", None) if path.startswith("/replication") else ("PATCH", {"status": "Stopped"})
        await self._api.ask(method, f"{API}{path}", body=body)

    async def _get(self, path: str) -> Any:
        return (await self._api.ask("GET", f"{API}{path}")).document or {}

    async def _list(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(1, 100):
            rows = (await self._api.ask("GET", f"{API}{path}", PAGE | {"page": str(page)})).document or []
            found += rows
            if len(rows) < int(PAGE["page_size"]):
                break
        return found


def replication_policy(name: str, source: int, reference: Reference, path: str) -> dict[str, Any]:
    """A policy that copies one tag to `path` when executed by hand (swagger.yaml, ReplicationPolicy)."""
    namespace, replaced = moved(reference.repository, path)
    return {
        "name": name,
        "description": "set and executed by prewarm, an image at a time",
        "src_registry": {"id": source},
        "dest_registry": None,
        "dest_namespace": namespace,
        "dest_namespace_replace_count": replaced,
        "trigger": {"type": "manual"},
        "filters": [
            {"type": "name", "value": reference.repository},
            {"type": "tag", "value": reference.target, "decoration": "matches"},
        ],
        "replicate_deletion": False,
        "override": True,
        "enabled": True,
    }


def preheat_policy(name: str, project: int, provider: int, repository: str, tag: str) -> dict[str, Any]:
    """A policy that has peers fetch one tag when it is executed by hand (swagger.yaml, PreheatPolicy)."""
    filters = [{"type": "repository", "value": repository}, {"type": "tag", "value": tag}]
    return {
        "name": name,
        "project_id": project,
        "provider_id": provider,
        "filters": json.dumps(filters),
        "trigger": json.dumps({"type": "manual"}),
        "enabled": True,
    }


def moved(repository: str, path: str) -> tuple[str, int]:
    """The namespace to put before, and how many components of the source it replaces.

    >>> moved("library/web", "hub/library/web")
    ('hub', 0)
    >>> moved("library/web", "base/web")
    ('base', 1)
    """
    source, target = repository.split("/"), path.split("/")
    same = 0
    while same < min(len(source), len(target) - 1) and source[-1 - same] == target[-1 - same]:
        same += 1
    if not same:
        raise CacheError(
            f"Harbor's replication keeps the last part of a name: {repository} cannot become {path}"
        )
    return "/".join(target[: len(target) - same]), len(source) - same


def kilobits(rate: float) -> int:
    """Bytes a second in the unit of a policy's `speed`."""
    return max(1, int(rate * 8 / 1024))


def ended(execution: dict[str, Any], path: str, image: Image) -> bool:
    """Whether it has succeeded; raises what it failed for, NotFound when it found nothing to do."""
    status = str(execution.get("status") or "").lower()
    if status in ("succeed", "success"):
        metrics = execution.get("metrics") or {}
        if execution.get("total", metrics.get("task_count", 1)) == 0:
            raise NotFound(f"Harbor found nothing to fetch for {image.reference}", status=404)
        return True
    if status in ("failed", "error", "stopped"):
        said = execution.get("status_text") or execution.get("status_message") or "its log says why"
        raise in_our_words("Harbor", f"execution {path.rpartition('/')[2]} {status}: {said}")
    return False
