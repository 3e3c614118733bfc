"""A Harbor inside the test process: its registry, and the part of its API that fetches for itself.

Written from Harbor's api/v2.0/swagger.yaml (v2.10): listRegistries, listReplicationPolicies,
createReplicationPolicy, updateReplicationPolicy, startReplication, getReplicationExecution, stopReplication,
listProvidersUnderProject, CreatePolicy, GetPolicy, UpdatePolicy, ManualPreheat, GetExecution, StopExecution,
getProject and getSystemInfo. An execution begins when it is asked for, and copies over HTTP from the registry
that an endpoint stands for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.fakes import FakeRegistry
from tests.replica_double import FakeReplica

API = "/api/v2.0"
USER, PASSWORD = "robot$warmer", "robot-secret"


class HarborDouble(FakeReplica):
    """A Harbor with a project `hub`; an async context manager."""

    def __init__(self, source: FakeRegistry) -> None:
        super().__init__()
        self.source = source
        self.registries = {"dockerhub": 3}
        self.projects: dict[str, dict[str, Any]] = {"hub": {"project_id": 7, "name": "hub"}}
        self.providers = [{"id": 5, "provider": "dragonfly", "enabled": True, "default": True}]
        self.policies: dict[int, dict[str, Any]] = {}  # of replication
        self.preheats: dict[tuple[str, str], dict[str, Any]] = {}  # by project and name
        self.executions: dict[str, dict[str, Any]] = {}
        self.peers: list[tuple[str, str, str]] = []  # (project, repository, tag) that peers fetched
        self.broken: str | None = None  # what the next executions fail for
        self.logins: list[str] = []
        self._work: dict[str, asyncio.Task[None]] = {}

    async def settle(self) -> None:
        """Return when no execution is under way that can end."""
        await asyncio.sleep(0.01)
        waiting = [work for work in self._work.values() if not work.done()]
        if waiting and not self.source.hung.is_set():
            await asyncio.gather(*waiting, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(middlewares=[self._watch])
        router = application.router
        for method, path, handler in (
            ("GET", "/systeminfo", self._info),
            ("GET", "/projects/{project}", self._project),
            ("GET", "/registries", self._registries),
            ("GET", "/replication/policies", self._policies),
            ("POST", "/replication/policies", self._make_policy),
            ("PUT", "/replication/policies/{id}", self._set_policy),
            ("POST", "/replication/executions", self._replicate),
            ("GET", "/replication/executions/{id}", self._execution),
            ("PUT", "/replication/executions/{id}", self._stop),
            ("GET", "/projects/{project}/preheat/providers", self._providers),
            ("POST", "/projects/{project}/preheat/policies", self._make_preheat),
            ("GET", "/projects/{project}/preheat/policies/{name}", self._preheat),
            ("PUT", "/projects/{project}/preheat/policies/{name}", self._set_preheat),
            ("POST", "/projects/{project}/preheat/policies/{name}", self._start_preheat),
            ("GET", "/projects/{project}/preheat/policies/{name}/executions/{id}", self._execution),
            ("PATCH", "/projects/{project}/preheat/policies/{name}/executions/{id}", self._stop),
        ):
            router.add_route(method, API + path, self._let_in(handler))
        self.routes(application)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for work in self._work.values():
            work.cancel()
        await asyncio.gather(*self._work.values(), return_exceptions=True)
        await self._client.close()
        await super().__aexit__(kind, error, trace)

    def _let_in(self, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.StreamResponse:
            given = request.headers.get("Authorization", "")
            self.logins.append(given)
            if given != "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
                return _refused(401, "UNAUTHORIZED", "unauthorized")
            answer: web.StreamResponse = await handler(request)
            return answer

        return guarded

    # --- what there is ---

    async def _info(self, request: web.Request) -> web.Response:
        return web.json_response({"harbor_version": "v2.10.0", "auth_mode": "db_auth"})

    async def _project(self, request: web.Request) -> web.Response:
        project = self.projects.get(request.match_info["project"])
        if project is None:
            return _refused(404, "NOT_FOUND", f"project {request.match_info['project']} not found")
        return web.json_response(project)

    async def _registries(self, request: web.Request) -> web.Response:
        return web.json_response([{"id": id, "name": name} for name, id in self.registries.items()])

    async def _providers(self, request: web.Request) -> web.Response:
        return web.json_response(self.providers)

    # --- replication ---

    async def _policies(self, request: web.Request) -> web.Response:
        return web.json_response([{"id": id, **policy} for id, policy in self.policies.items()])

    async def _make_policy(self, request: web.Request) -> web.Response:
        policy = await request.json()
        if any(each["name"] == policy["name"] for each in self.policies.values()):
            return _refused(409, "CONFLICT", "policy name is taken")
        id = len(self.policies) + 1
        self.policies[id] = policy
        return web.Response(status=201, headers={"Location": f"{API}/replication/policies/{id}"})

    async def _set_policy(self, request: web.Request) -> web.Response:
        self.policies[int(request.match_info["id"])] = await request.json()
        return web.Response()

    async def _replicate(self, request: web.Request) -> web.Response:
        policy = self.policies[(await request.json())["policy_id"]]
        id = self._begin(self._copied(dict(policy)), {"status": "InProgress", "total": 1})
        return web.Response(status=201, headers={"Location": f"{API}/replication/executions/{id}"})

    async def _copied(self, policy: dict[str, Any]) -> int:
        """Copy the tag that the policy names: blobs, manifests, the tag; how many tags there were."""
        wanted = {each["type"]: each["value"] for each in policy["filters"]}
        replaced = policy["dest_namespace_replace_count"]
        target = "/".join([policy["dest_namespace"], *wanted["name"].split("/")[replaced:]])
        if (wanted["name"], wanted["tag"]) not in self.source.manifests:
            return 0
        await self._copy_manifest(wanted["name"], target, wanted["tag"])
        return 1

    async def _copy_manifest(self, name: str, target: str, reference: str) -> None:
        body, kind = await self._fetch(f"{name}/manifests/{reference}")
        document = json.loads(body)
        for child in document.get("manifests", []):
            await self._copy_manifest(name, target, child["digest"])
        for blob in [*document.get("layers", []), *([document["config"]] if "config" in document else [])]:
            content, _ = await self._fetch(f"{name}/blobs/{blob['digest']}")
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != blob["digest"]:
                raise ValueError(f"the digest of {blob['digest']} does not match what was pulled")
            self.links.add((target, self.push_blob(content)))
        self.push_manifest(target, reference, body, kind)

    async def _fetch(self, path: str) -> tuple[bytes, str]:
        async with self._client.get(f"{self.source.url}/v2/{path}") as response:
            return await response.read(), response.content_type

    # --- preheat ---

    async def _make_preheat(self, request: web.Request) -> web.Response:
        policy, project = await request.json(), request.match_info["project"]
        self.preheats[project, policy["name"]] = policy | {"id": len(self.preheats) + 1}
        location = f"{API}/projects/{project}/preheat/policies/{policy['name']}"
        return web.Response(status=201, headers={"Location": location})

    async def _preheat(self, request: web.Request) -> web.Response:
        policy = self.preheats.get((request.match_info["project"], request.match_info["name"]))
        return _refused(404, "NOT_FOUND", "no such policy") if policy is None else web.json_response(policy)

    async def _set_preheat(self, request: web.Request) -> web.Response:
        key = request.match_info["project"], request.match_info["name"]
        self.preheats[key] = await request.json()
        return web.Response()

    async def _start_preheat(self, request: web.Request) -> web.Response:
        project, name = request.match_info["project"], request.match_info["name"]
        policy = dict(self.preheats[project, name])
        id = self._begin(
            self._preheated(project, policy), {"status": "Running", "metrics": {"task_count": 1}}
        )
        location = f"{API}/projects/{project}/preheat/policies/{name}/executions/{id}"
        return web.Response(status=201, headers={"Location": location})

    async def _preheated(self, project: str, policy: dict[str, Any]) -> int:
        """Have the peers read every blob of the tag through Harbor's registry."""
        wanted = {each["type"]: each["value"] for each in json.loads(policy["filters"])}
        path = f"{project}/{wanted['repository']}"
        if (path, wanted["tag"]) not in self.manifests:
            return 0
        document = json.loads(self.manifests[path, wanted["tag"]][0])
        for blob in document["layers"]:
            content, _ = await self._fetch_own(f"{path}/blobs/{blob['digest']}")
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != blob["digest"]:
                raise ValueError(f"the digest of {blob['digest']} does not match what was pulled")
        self.peers.append((project, wanted["repository"], wanted["tag"]))
        return 1

    async def _fetch_own(self, path: str) -> tuple[bytes, str]:
        async with self._client.get(f"{self.url}/v2/{path}") as response:
            return await response.read(), response.content_type

    # --- executions ---

    def _begin(self, work: Any, execution: dict[str, Any]) -> str:
        id = str(len(self.executions) + 40)
        self.executions[id] = execution | {"id": int(id)}
        self._work[id] = asyncio.create_task(self._run(id, work))
        return id

    async def _run(self, id: str, work: Any) -> None:
        execution = self.executions[id]
        replication = "total" in execution
        try:
            if self.broken:
                work.close()
                raise ValueError(self.broken)
            count = await work
            execution |= {"total": count} if replication else {"metrics": {"task_count": count}}
            execution["status"] = "Succeed" if replication else "Success"
        except (ValueError, aiohttp.ClientError) as error:
            execution |= {"status": "Failed" if replication else "Error", "status_text": str(error)}

    async def _execution(self, request: web.Request) -> web.Response:
        return web.json_response(self.executions[request.match_info["id"]])

    async def _stop(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        self.executions[id]["status"] = "Stopped"
        self._work[id].cancel()
        return web.Response()


def _refused(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)
