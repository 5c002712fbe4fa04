"""The reference story through Python's dynamic client. $KUBECONFIG says where."""

import json
import os
import tempfile

from kubernetes import client, config, dynamic
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError

IMAGE = "docker.io/xiexianbin/knative-helloworld-go:latest"
PATIENCE = 100


def service(target):
    container = {"image": IMAGE, "env": [{"name": "TARGET", "value": target}]}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "h1"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def is_ready(obj):
    status = obj.get("status", {})
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        return False
    ready = [c for c in status.get("conditions", []) if c["type"] == "Ready"]
    return bool(ready) and ready[0]["status"] == "True"


def main():
    config.load_kube_config()
    cache = os.path.join(tempfile.mkdtemp(), "discovery")
    dyn = dynamic.DynamicClient(client.ApiClient(), cache_file=cache)
    services = dyn.resources.get(api_version="serving.knative.dev/v1", kind="Service")
    revisions = dyn.resources.get(api_version="serving.knative.dev/v1", kind="Revision")
    routes = dyn.resources.get(api_version="serving.knative.dev/v1", kind="Route")

    def watched(version, is_wanted):
        """Follows h1 from a version until it is as wanted; returns the states on the way."""
        states = []
        events = services.watch(
            namespace="default",
            field_selector="metadata.name=h1",
            resource_version=version,
            timeout=PATIENCE,
        )
        for event in events:
            states.append((event["type"], event["raw_object"]))
            if is_wanted(*states[-1]):
                return states
        raise AssertionError(f"the watch ended after {states}")

    def settled(version, is_wanted):
        def wanted(kind, obj):
            return kind != "DELETED" and is_ready(obj) and is_wanted(obj["status"])

        return watched(version, wanted)

    def patch(spec):
        body = {"spec": spec}
        changed = services.patch(
            name="h1",
            namespace="default",
            body=body,
            content_type="application/merge-patch+json",
        )
        return changed.metadata.resourceVersion

    start = services.get(namespace="default").metadata.resourceVersion
    created = services.create(body=service("v1"), namespace="default")
    assert created.metadata.generation == 1
    states = settled(start, lambda status: True)
    assert states[0][0] == "ADDED", states[0]
    assert {kind for kind, _ in states[1:]} == {"MODIFIED"}, states
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in states]
    assert versions == sorted(set(versions)), versions
    status = states[-1][1]["status"]
    assert status["latestReadyRevisionName"] == "h1-00001", status
    assert status["url"] == "http://h1.default.example.com", status
    assert [s.metadata.name for s in services.get(namespace="default").items] == ["h1"]
    try:
        services.create(body=service("v1"), namespace="default")
        raise AssertionError("a second h1 was created")
    except ConflictError as error:
        assert '"h1" already exists' in json.loads(error.body)["message"]

    version = patch(service("v2")["spec"])
    settled(version, lambda status: status["latestReadyRevisionName"] == "h1-00002")
    selector = "serving.knative.dev/service=h1"
    found = revisions.get(namespace="default", label_selector=selector).items
    assert [r.metadata.name for r in found] == ["h1-00001", "h1-00002"], found

    version = patch({"traffic": [{"revisionName": "h1-00001", "percent": 100}]})
    settled(version, lambda status: status["traffic"][0]["revisionName"] == "h1-00001")
    split = [
        {"revisionName": "h1-00001", "percent": 20},
        {"revisionName": "h1-00002", "percent": 80},
    ]
    version = patch({"traffic": split})
    settled(version, lambda status: [t["percent"] for t in status["traffic"]] == [20, 80])
    route = routes.get(name="h1", namespace="default")
    assert [t.percent for t in route.status.traffic] == [20, 80], route

    version = services.get(name="h1", namespace="default").metadata.resourceVersion
    services.delete(name="h1", namespace="default")
    watched(version, lambda kind, _: kind == "DELETED")
    try:
        services.get(name="h1", namespace="default")
        raise AssertionError("h1 is still there")
    except NotFoundError as error:
        assert '"h1" not found' in json.loads(error.body)["message"]
    assert not revisions.get(namespace="default").items
    print("the story is told")


main()
