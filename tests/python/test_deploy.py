"""What deploy/ says is true: its files are valid, and agree with each other and with the binary."""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import tomllib

import kubernetes_validate
import pytest
import yaml

import parts
from conftest import BINARY, ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# The oldest and the newest that the manifests are meant for.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
FILES = sorted(DEPLOY.rglob("*.yaml"))


class Strict(yaml.SafeLoader):
    """A key that is given twice is an error: one of the two would be lost."""


def mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f"{node.start_mark}: a key twice among {keys}"
    return loader.construct_mapping(node, deep=True)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def documents(text):
    return [document for document in yaml.load_all(text, Strict) if document]


def load(path):
    return documents((DEPLOY / path).read_text())


def named(all_of_them, kind, name):
    [found] = [one for one in all_of_them if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def run(*arguments):
    environment = {"PATH": os.environ["PATH"]}
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=60)


@pytest.fixture(scope="module")
def settings():
    """Flag to default and environment variables, as the binary tells them."""
    help_text = run(BINARY, "--help").stdout.partition("\nListening:")[2]
    entry = re.compile(r"^  (?:-\w, )?--([a-z0-9-]+).*?\[default: (.*?)\] \[env: (.*?)\]", re.M | re.S)
    found = {flag: (default, env.split(", ")) for flag, default, env in entry.findall(help_text)}
    assert len(found) > 40 and found["http-port"][0] == "5001", found
    return found


@pytest.fixture(scope="module")
def pod():
    """The stateful set of the service."""
    return named(load("kubernetes/base/statefulset.yaml"), "StatefulSet", "websocket-manager")["spec"]["template"]


def container(pod):
    [only] = pod["spec"]["containers"]
    return only


def flags(arguments):
    """--flag=value to a dictionary."""
    pairs = [argument.removeprefix("--").split("=", 1) for argument in arguments if argument.startswith("--")]
    assert all(len(pair) == 2 for pair in pairs), arguments
    return dict(pairs)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m|ms)?", str(text)).groups()
    return int(number) * {"s": 1, "m": 60, "ms": 0.001, None: 1}[unit]


def check_schema(document):
    """False for a kind that Kubernetes itself does not have."""
    if not re.match(r"^(v1|apps/v1|policy/v1|networking\.k8s\.io/v1)$", document["apiVersion"]):
        return False
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_is_valid(path):
    found = documents(path.read_text())
    assert found, "it is not empty"
    for document in found:
        if path.name == "dapr.yaml" and "apps" in document:
            continue
        assert document["apiVersion"] and document["kind"], document
        if document["kind"] not in ("Kustomization",) and "kustomize" not in document["apiVersion"]:
            assert document["metadata"]["name"]
            checked = check_schema(document)
            assert checked or document["apiVersion"] in ("dapr.io/v1alpha1", "monitoring.coreos.com/v1"), document


def test_a_wrong_manifest_would_be_found(pod):
    wrong = named(load("kubernetes/base/statefulset.yaml"), "StatefulSet", "websocket-manager")
    wrong["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        check_schema(wrong)
    with pytest.raises(AssertionError, match="a key twice"):
        documents("a: 1\na: 2\n")


@pytest.mark.parametrize("folder", ["base", "trial", "monitoring"])
def test_kustomizations_name_files_that_are_there_and_render(folder, tmp_path):
    [kustomization] = load(f"kubernetes/{folder}/kustomization.yaml")
    for resource in kustomization["resources"]:
        assert (KUBERNETES / folder / resource).exists(), resource
    names = {path.name for path in (KUBERNETES / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert names == {resource for resource in kustomization["resources"] if resource.endswith(".yaml")}
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl to render them with")
    target = KUBERNETES / folder
    if kustomization["kind"] == "Component":
        # A component is used by another one.
        target = tmp_path / "used"
        shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
        target.mkdir()
        text = "resources: [../kubernetes/base]\ncomponents: [../kubernetes/monitoring]\n"
        (target / "kustomization.yaml").write_text(text)
    rendered = run("kubectl", "kustomize", str(target))
    assert rendered.returncode == 0, rendered.stderr
    made = documents(rendered.stdout)
    assert sum(check_schema(document) for document in made) >= 5
    template = named(made, "StatefulSet", "websocket-manager")["spec"]["template"]
    opened = "--admin-listen=0.0.0.0" in container(template)["args"]
    assert opened == (folder == "monitoring"), "only monitoring opens the admin port"
    assert re.fullmatch(r"websocket-manager:\d+\.\d+\.\d+", container(template)["image"])


def test_every_flag_is_a_setting_and_every_value_is_accepted(settings, pod, tmp_path):
    [template] = load("dapr/dapr.yaml")
    commands = [app["command"][1:] for app in template["apps"]] + [container(pod)["args"]]
    key = tmp_path / "secret.key"
    key.write_text("00" * 32)
    key.chmod(0o600)
    checks = []
    for command in commands:
        assert command[0] == "serve"
        given = flags(command[1:])
        assert set(given) <= set(settings), set(given) - set(settings)
        given |= {"secret-key-file": str(key), "data-dir": str(tmp_path / "data")}
        if "advertise" in given:
            given |= {"advertise": given["advertise"].replace("$(POD_IP)", "10.0.0.1")}
        if "instance-id" in given:
            given |= {"instance-id": given["instance-id"].replace("$(POD_NAME)", "wsm-0")}
        assert not [value for value in given.values() if "$" in value]
        checks.append([BINARY, "check", *(f"--{flag}={value}" for flag, value in given.items())])
    # Each waits a while for a sidecar that is not there.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for checked in pool.map(lambda check: run(*check), checks):
            problems = [line for line in checked.stderr.splitlines() if line.startswith("error")]
            # A binary that has no such backend yet says only that.
            assert all("is not supported by this version" in line for line in problems), checked.stderr


def test_what_is_named_is_what_the_service_assumes(settings, pod):
    names = {document["metadata"]["name"]: document for path in ("components", "optional")
             for file in (DEPLOY / "dapr" / path).glob("*.yaml") for document in documents(file.read_text())}
    assert names[settings["state-store-name"][0]]["spec"]["type"].startswith("state.")
    assert names[settings["pubsub-name"][0]]["spec"]["type"].startswith("pubsub.")
    targets = names["wsmgr"]["spec"]["targets"]["components"]
    assert set(targets) == {"statestore", "pubsub"}, "resiliency is for components that are there"
    policies = names["wsmgr"]["spec"]["policies"]
    used = {(kind, name) for target in targets.values() for way in target.values() for kind, name in way.items()}
    assert {name for kind, name in used if kind == "timeout"} == set(policies["timeouts"])
    assert {name for kind, name in used if kind == "retry"} == set(policies["retries"])
    [configuration] = load("dapr/config.yaml")
    annotations = pod["metadata"]["annotations"]
    assert annotations["dapr.io/config"] == configuration["metadata"]["name"]
    assert all(isinstance(value, str) for value in annotations.values())
    scopes = {tuple(one["scopes"]) for one in load("kubernetes/base/dapr.yaml") if "scopes" in one}
    assert scopes == {(annotations["dapr.io/app-id"],)}


def test_the_clusters_components_are_the_local_ones():
    def plain(document):
        text = json.dumps({key: value for key, value in document.items() if key != "scopes"}, sort_keys=True)
        return text.replace("redis:6379", "127.0.0.1:6379")

    local = [one for path in DEPLOY.glob("dapr/**/*.yaml") if path.name != "dapr.yaml" for one in documents(path.read_text())]
    cluster = load("kubernetes/base/dapr.yaml")
    assert sorted(map(plain, cluster)) == sorted(map(plain, local))
    host = {item["value"] for one in cluster for item in one["spec"].get("metadata", []) if item["name"] == "redisHost"}
    redis = named(load("kubernetes/trial/redis.yaml"), "Service", "redis")
    assert host == {f"{redis['metadata']['name']}:{redis['spec']['ports'][0]['port']}"}


def test_there_is_time_to_drain(settings, pod):
    given, annotations = flags(container(pod)["args"]), pod["metadata"]["annotations"]
    drain = seconds(given.get("drain-timeout", settings["drain-timeout"][0]))
    lame_duck = seconds(given.get("drain-lame-duck", settings["drain-lame-duck"][0]))
    sidecar = seconds(annotations["dapr.io/block-shutdown-duration"])
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    probe = container(pod)["readinessProbe"]
    assert lame_duck + drain <= grace, "even if the one came after the other"
    assert drain <= sidecar, "the sidecar publishes until the drain has ended"
    assert sidecar + seconds(annotations["dapr.io/graceful-shutdown-seconds"]) <= grace
    assert probe["periodSeconds"] * probe["failureThreshold"] < lame_duck, "not ready is seen before work is refused"


def test_ports_and_probes_are_the_services(settings, pod):
    http, grpc, admin = (int(settings[f"{name}-port"][0]) for name in ("http", "grpc", "admin"))
    ports = {port["name"]: port["containerPort"] for port in container(pod)["ports"]}
    assert ports == {"http": http, "grpc": grpc}
    probes = {name: container(pod)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    services = load("kubernetes/base/service.yaml") + load("kubernetes/monitoring/service.yaml")
    for port in [port for service in services for port in service["spec"]["ports"]]:
        assert port["port"] == {"http": http, "grpc": grpc, "admin": admin}[port["name"]]
        assert port["targetPort"] == port["name"]
    labels = pod["metadata"]["labels"]
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
    assert flags(container(pod)["args"])["advertise"].endswith(f":{grpc}")
    policy = load("kubernetes/monitoring/networkpolicy.yaml")[0]["spec"]["ingress"]
    open_to_all = [(port["port"], port["endPort"]) for rule in policy if "from" not in rule for port in rule["ports"]]
    assert not any(first <= admin <= last for first, last in open_to_all)
    assert all(any(first <= port <= last for first, last in open_to_all) for port in (http, grpc))


def test_nothing_runs_as_root_or_writes_where_it_should_not(pod):
    redis = named(load("kubernetes/trial/redis.yaml"), "StatefulSet", "redis")["spec"]["template"]
    for template in (pod, redis):
        spec, inner = template["spec"]["securityContext"], container(template)["securityContext"]
        assert spec["runAsNonRoot"] and spec["runAsUser"] > 0 and spec["fsGroup"] == spec["runAsGroup"]
        assert inner["readOnlyRootFilesystem"] and not inner["allowPrivilegeEscalation"]
        assert inner["capabilities"]["drop"] == ["ALL"]
        assert container(template)["resources"]["limits"]["memory"]
    given = flags(container(pod)["args"])
    mounts = {mount["mountPath"]: mount for mount in container(pod)["volumeMounts"]}
    assert not mounts[given["data-dir"]].get("readOnly")
    assert mounts[os.path.dirname(given["secret-key-file"])]["readOnly"]


def test_the_run_template_starts_what_it_says(pod):
    [template] = load("dapr/dapr.yaml")
    here = DEPLOY / "dapr"
    assert (here / template["common"]["resourcesPath"]).is_dir()
    assert (here / template["common"]["configFilePath"]).is_file()
    taken = []
    for app in template["apps"]:
        assert (here / app["appDirPath"]).resolve() == ROOT
        given = flags(app["command"][2:])
        assert (int(given["dapr-http-port"]), int(given["dapr-grpc-port"])) == (app["daprHTTPPort"], app["daprGRPCPort"])
        ports = [int(given.get(name, default)) for name, default in
                 (("http-port", 5001), ("grpc-port", 5002), ("admin-port", 5003))]
        taken += [*ports, app["daprHTTPPort"], app["daprGRPCPort"], given["instance-id"], given["data-dir"]]
    assert len(taken) == len(set(taken)), taken
    assert len({flags(app["command"][2:])["secret-key-file"] for app in template["apps"]}) == 1


def test_the_image_is_built_from_what_is_there(settings, pod):
    text = (DEPLOY / "Dockerfile").read_text()
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    [rust] = re.findall(r"^FROM rust:([\d.]+)-", text, re.M)
    assert rust == cargo["package"]["rust-version"]
    assert re.search(r"--profile (\w+)", text)[1] in cargo["profile"]
    assert cargo["bin"][0]["name"] in text
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists() and f"!{source}" in ignored, source
    variables = {name for _, names in settings.values() for name in names}
    # What the build is given is no setting of the service.
    used = set(re.findall(r"\b(WSM_\w+)=", text)) - set(re.findall(r"^ARG (\w+)", text, re.M))
    assert used and used <= variables, used - variables
    [exposed] = re.findall(r"^EXPOSE (.*)$", text, re.M)
    assert exposed.split() == [settings["http-port"][0], settings["grpc-port"][0]]
    user = pod["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in text
    [kustomization] = load("kubernetes/base/kustomization.yaml")
    assert kustomization["images"][0]["newTag"] == cargo["package"]["version"]


def test_a_real_sidecar_takes_the_component_files(tmp_path):
    parts.daprd()
    with parts.redis(tmp_path) as redis, parts.sidecar("wsmgr", redis, tmp_path, optional=True) as sidecar:
        components = sidecar.components()
    assert set(components) == {"statestore", "pubsub", "pubsub-broadcast"}
    assert {"ETAG", "TTL"} <= set(components["statestore"]["capabilities"])
