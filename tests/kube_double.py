"""A Kubernetes API server, its kubelets, and OpenKruise, inside the test process.

Written from the Kubernetes API, v1.29 (api/openapi-spec/swagger.json): core/v1 nodes, pods and secrets,
batch/v1 jobs, authorization/v1 selfsubjectaccessreviews, /version; container states as kubelet and containerd
1.7 report a command that is not there (StartError), and CRI-O (CreateContainerError). OpenKruise from v1.7
(apis/apps/v1alpha1/imagepulljob_types.go, nodeimage_types.go). What a Job or ImagePullJob asks for is pulled
at once, from a dictionary, unless a test makes it fail or hang.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from prewarm.references import Reference
from prewarm.warming.images import Image

TOKEN = "the-account's-token"
GROUP = "apps.kruise.io"


class KubeDouble:
    """A cluster on a free port of 127.0.0.1; an async context manager."""

    def __init__(self, *nodes: str, kruise: bool = False, tls: ssl.SSLContext | None = None) -> None:
        """With `tls`, whoever has a certificate that it trusts is let in."""
        self._tls = tls
        self.nodes = {name: _node(name) for name in nodes or ("node-1", "node-2")}
        self.kruise = kruise
        self.registry: dict[str, Image] = {}  # what kubelets can pull, by canonical reference
        self.errors: defaultdict[str, list[str]] = defaultdict(list)  # kubelets' next refusals, by node
        self.broken: set[str] = set()  # nodes that always refuse with the first of their errors
        self.hanging: set[str] = set()  # nodes whose pulls never end
        self.hung = asyncio.Event()
        self.crio = False  # whether containers fail before they have a status
        self.lists = True  # whether nodes tell their images
        self.stale: str | None = None  # the digest that the nodes' mirror serves instead
        self.denied: set[tuple[str, str]] = set()  # (verb, resource)
        self.secrets: set[str] = set()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}  # by the Job's name
        self.pull_jobs: dict[str, dict[str, Any]] = {}
        self.node_images: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self.made: list[dict[str, Any]] = []  # every Job and ImagePullJob, in order
        self.at_once = 0  # the most Jobs that were there together
        self._work: dict[str, asyncio.Task[None]] = {}

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(self) -> dict[str, Any]:
        """The cluster as a kubeconfig has it."""
        return {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "warm"}}],
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        }

    def has(self, node: str) -> set[str]:
        """Every name, with its digest, of the images on a node."""
        return {name for each in self.nodes[node]["status"]["images"] for name in each["names"]}

    def remove(self, job: str) -> None:
        """Do what deleting a Job does: its pod goes, and the pull stops."""
        self.jobs.pop(job, None)
        self.pods.pop(job, None)
        if work := self._work.pop(job, None):
            work.cancel()

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[self._let_in])
        router = application.router
        router.add_get("/version", self._version)
        router.add_get("/api/v1/nodes", self._list_nodes)
        router.add_get("/api/v1/namespaces/warm/pods", self._list_pods)
        router.add_get("/api/v1/namespaces/warm/secrets/{name}", self._secret)
        jobs = "/apis/batch/v1/namespaces/warm/jobs"
        router.add_get(jobs, self._list_jobs)
        router.add_post(jobs, self._make_job)
        router.add_delete(jobs + "/{name}", self._delete_job)
        router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review)
        router.add_get(f"/apis/{GROUP}", self._group)
        pulls = f"/apis/{GROUP}/v1alpha1/namespaces/warm/imagepulljobs"
        router.add_get(pulls, self._list_pull_jobs)
        router.add_post(pulls, self._make_pull_job)
        router.add_get(pulls + "/{name}", self._get_pull_job)
        router.add_delete(pulls + "/{name}", self._delete_pull_job)
        router.add_get(f"/apis/{GROUP}/v1alpha1/nodeimages/{{name}}", self._node_image)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        work = list(self._work.values())
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await self._runner.cleanup()

    async def settle(self) -> None:
        """Return when every pull that can end has ended."""
        pulling = [work for job, work in self._work.items() if self._node_of(job) not in self.hanging]
        await asyncio.gather(*pulling, return_exceptions=True)

    def _node_of(self, job: str) -> str:
        return str(self.jobs[job]["spec"]["template"]["spec"]["nodeName"]) if job in self.jobs else ""

    # --- the API ---

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self._tls is None and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _status(401, "Unauthorized")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "29", "gitVersion": "v1.29.4"})

    async def _list_nodes(self, request: web.Request) -> web.Response:
        if ("list", "nodes") in self.denied:
            return _status(
                403, 'nodes is forbidden: User "warmer" cannot list resource "nodes" in API group ""'
            )
        items = [node for node in self.nodes.values() if _selected(node, request)]
        return web.json_response({"kind": "NodeList", "items": items})

    async def _list_pods(self, request: web.Request) -> web.Response:
        return web.json_response({"items": [pod for pod in self.pods.values() if _selected(pod, request)]})

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return web.json_response({"items": [job for job in self.jobs.values() if _selected(job, request)]})

    async def _secret(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.secrets:
            return _status(404, f'secrets "{name}" not found')
        return web.json_response({"kind": "Secret", "metadata": {"name": name}})

    async def _make_job(self, request: web.Request) -> web.Response:
        if ("create", "jobs") in self.denied:
            return _status(403, 'jobs.batch is forbidden: User "warmer" cannot create resource "jobs"')
        job = await request.json()
        name = f"{job['metadata']['generateName']}{len(self.made):05d}"
        job["metadata"]["name"] = name
        self.jobs[name] = job
        self.made.append(job)
        self.at_once = max(self.at_once, len(self.jobs))
        template = job["spec"]["template"]
        pod = {"metadata": template["metadata"], "spec": template["spec"], "status": {"phase": "Pending"}}
        self.pods[name] = pod
        self._work[name] = asyncio.create_task(self._run(pod))
        return web.json_response(job, status=201)

    async def _delete_job(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.jobs:
            return _status(404, f'jobs.batch "{name}" not found')
        self.remove(name)
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _review(self, request: web.Request) -> web.Response:
        asked = (await request.json())["spec"]["resourceAttributes"]
        allowed = (asked["verb"], asked["resource"]) not in self.denied
        return web.json_response(
            {"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}}, status=201
        )

    # --- a kubelet ---

    async def _run(self, pod: dict[str, Any]) -> None:
        node, container = pod["spec"]["nodeName"], pod["spec"]["containers"][0]
        refusal = await self._pull(node, container["image"])
        if refusal:
            waiting = {"reason": "ErrImagePull", "message": refusal}
            pod["status"] = {"phase": "Pending", "containerStatuses": [_container(waiting=waiting)]}
        elif self.crio:
            waiting = {"reason": "CreateContainerError", "message": "container create failed: no such file"}
            pod["status"] = {"phase": "Pending", "containerStatuses": [_container(waiting=waiting)]}
        else:
            ended = {"reason": "StartError", "exitCode": 128, "message": "no such file or directory"}
            image_id = self._image_id(container["image"])
            pod["status"] = {
                "phase": "Failed",
                "containerStatuses": [_container(terminated=ended, image_id=image_id)],
            }

    async def _pull(self, node: str, image: str) -> str | None:
        """Why the image is not on the node; None when it is."""
        if node in self.hanging:
            self.hung.set()
            await asyncio.Event().wait()
        if errors := self.errors[node]:
            return errors[0] if node in self.broken else errors.pop(0)
        if image not in self.registry:
            return f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": not found'
        if self.lists:
            reference = Reference.parse(image)
            images = self.nodes[node]["status"]["images"]
            images[:] = [each for each in images if image not in each["names"]]
            images.append({"names": [f"{reference.name}@{self._digest(image)}", image], "sizeBytes": 1})
        return None

    def _digest(self, image: str) -> str:
        return self.stale or self.registry[image].digest

    def _image_id(self, image: str) -> str:
        return f"{Reference.parse(image).name}@{self._digest(image)}"

    # --- OpenKruise ---

    async def _group(self, request: web.Request) -> web.Response:
        if not self.kruise:
            return _status(404, "the server could not find the requested resource")
        version = {"groupVersion": f"{GROUP}/v1alpha1", "version": "v1alpha1"}
        return web.json_response({"kind": "APIGroup", "versions": [version], "preferredVersion": version})

    async def _list_pull_jobs(self, request: web.Request) -> web.Response:
        items = [job for job in self.pull_jobs.values() if _selected(job, request)]
        return web.json_response({"items": items})

    async def _make_pull_job(self, request: web.Request) -> web.Response:
        job = await request.json()
        name = f"{job['metadata']['generateName']}{len(self.made):05d}"
        job["metadata"]["name"] = name
        self.pull_jobs[name] = job
        self.made.append(job)
        self._work[name] = asyncio.create_task(self._run_pull_job(job))
        return web.json_response(job, status=201)

    async def _run_pull_job(self, job: dict[str, Any]) -> None:
        image = job["spec"]["image"]
        reference = Reference.parse(image)
        names = job["spec"]["selector"]["names"]
        job["status"] = {"desired": len(names), "active": len(names), "succeeded": 0, "failed": 0}
        for node in names:
            refusal = await self._pull(node, image)
            tag = {"tag": reference.target, "phase": "Failed" if refusal else "Succeeded", "progress": 100}
            tag |= {"message": refusal} if refusal else {"imageID": self._image_id(image)}
            self.node_images[node][reference.name] = {"tags": [tag]}
            job["status"]["failed" if refusal else "succeeded"] += 1
        job["status"] |= {"active": 0, "completionTime": "2026-11-24T08:30:00Z"}

    async def _get_pull_job(self, request: web.Request) -> web.Response:
        return web.json_response(self.pull_jobs[request.match_info["name"]])

    async def _delete_pull_job(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.pull_jobs.pop(name, None)
        if work := self._work.pop(name, None):
            work.cancel()
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _node_image(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response({"kind": "NodeImage", "status": {"imageStatuses": self.node_images[name]}})


def _node(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"pool": "ci"}},
        "status": {
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": "True"},
            ],
            "nodeInfo": {"operatingSystem": "linux", "architecture": "amd64"},
            "images": [],
        },
    }


def _container(image_id: str = "", **state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "pull", "imageID": image_id, "ready": False, "state": state}


def _selected(item: dict[str, Any], request: web.Request) -> bool:
    """Equality-based selectors, as the API takes them."""
    labels = item["metadata"].get("labels", {})
    pairs = [part.partition("=") for part in request.query.get("labelSelector", "").split(",") if part]
    return all(labels.get(key) == value for key, _, value in pairs)


def _status(code: int, message: str) -> web.Response:
    return web.json_response(
        {"kind": "Status", "status": "Failure", "message": message, "code": code}, status=code
    )
