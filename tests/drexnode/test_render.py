"""What `drexnode render` writes is accepted by the tools that will read it, holds no secret, replaces
nothing.

systemd's units by `systemd-analyze verify`, compose files by the specification's JSON schema, Kubernetes
objects by the schemas of their API.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from drexnode.cli import output
from drexnode.cli.start import _EXIT_OF_STORAGE
from drexnode.config import load_config
from drexnode.render import helm as helm_module
from drexnode.render.systemd import NOT_RESTARTED, systemd_units
from tests.drexnode.homes import command, done, make_home, refused

ANALYZE = shutil.which("systemd-analyze")
KUBERNETES_VERSION = "1.30"
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
EXPOSURE = re.compile(r"exposure level for \S+: (\d+\.\d+)")


@pytest.fixture(params=["validator", "full", "observer"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return make_home(tmp_path, f"{request.param}-0", request.param)


def set_key(home: Path, section: str, line: str) -> None:
    path = home / "drexnode.toml"
    key = line.split(" = ")[0]
    lines = [text for text in path.read_text().splitlines() if not text.lstrip("# ").startswith(f"{key} =")]
    lines.insert(lines.index(f"[{section}]") + 1, line)
    path.write_text("\n".join(lines) + "\n")


def program(folder: Path) -> Path:
    """A command that exists, as an installation has one."""
    path = folder / "drexnode"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def render(kind: str, home: Path, *more: str | Path) -> Path:
    """Render into a new folder beside the home."""
    folder = home.parent / f"{kind}-{home.name}"
    options: dict[str, tuple[str | Path, ...]] = {
        "systemd": ("--program", program(home.parent)),
        "compose": ("--source", Path(__file__).parents[2]),
        "helm": ("--image", "registry.example/drexnode@sha256:" + "0" * 64),
    }
    document = done("render", kind, "--home", home, "--out", folder, *options[kind], *more)
    assert sorted(document["files"]) == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    return folder


@pytest.mark.parametrize("kind", ["systemd", "compose", "helm"])
def test_nothing_rendered_holds_a_secret_and_nothing_is_overwritten(home: Path, kind: str) -> None:
    folder = render(kind, home)
    whole = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    for path in (home / "keys").iterdir():
        assert path.read_text().strip() not in whole
    image = ("--image", "x") if kind == "helm" else ()
    code = refused("render", kind, "--home", home, "--out", folder, *image)
    assert code == (output.UNSAFE, "FILE_EXISTS")


# --- systemd


@needs_systemd
def test_systemd_accepts_the_unit_and_finds_little_exposed(home: Path) -> None:
    [unit] = render("systemd", home).iterdir()
    assert ANALYZE is not None
    verified = subprocess.run([ANALYZE, "verify", unit], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        [ANALYZE, "security", "--offline=true", unit], capture_output=True, text=True, timeout=60
    )
    found = EXPOSURE.search(judged.stdout)
    assert found is not None, judged.stdout + judged.stderr
    assert float(found[1]) < 2.0


@needs_systemd
def test_a_signer_of_its_own_gets_a_unit_without_network_that_the_node_requires(tmp_path: Path) -> None:
    home = make_home(tmp_path, "validator-0", "validator")
    set_key(home, "keys", 'signer = "unix:signer/socket"')
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("secret\n")
    folder = render("systemd", home, "--passphrase-file", passphrase)
    node, signer = (folder / f"drexnode-validator-0{end}.service" for end in ("", "-signer"))
    assert "Requires=drexnode-validator-0-signer.service" in node.read_text()
    assert "PrivateNetwork=yes" in signer.read_text()
    assert f"LoadCredential=passphrase:{passphrase}" in signer.read_text()
    assert "LoadCredential" not in node.read_text()
    assert ANALYZE is not None
    verified = subprocess.run([ANALYZE, "verify", node, signer], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_what_a_restart_cannot_mend_is_not_restarted() -> None:
    stopped = {int(code) for code in NOT_RESTARTED.split()}
    assert set(_EXIT_OF_STORAGE.values()) <= stopped
    assert output.TRY_AGAIN not in stopped
    assert output.FAILURE not in stopped


def test_a_home_below_a_users_home_stays_visible(tmp_path: Path) -> None:
    config = load_config(make_home(tmp_path))
    object.__setattr__(config, "home", Path("/home/ana/node"))
    [text] = systemd_units(config, user="ana", program=Path("/bin/true"), passphrase=None).values()
    assert "ProtectHome=tmpfs" in text
    assert "BindPaths=/home/ana/node" in text


# --- compose


def test_the_compose_specification_accepts_the_file_and_it_is_closed(home: Path) -> None:
    path = render("compose", home) / "compose.yaml"
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    service = yaml.safe_load(path.read_text())["services"]["node"]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"] if port.endswith(":26650"))
    assert "/livez" in service["healthcheck"]["test"][3]


def test_the_image_is_pinned_not_root_and_its_parts_carry_hashes(home: Path) -> None:
    text = (render("compose", home, "--python-image", "python@sha256:ab") / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.M) == ["python@sha256:ab"] * 2
    assert "--require-hashes" in text
    assert "USER 10001:10001" in text
    assert not re.search(r"^FROM \S+:latest", text, re.M)


def test_the_health_check_is_python_that_compiles(home: Path) -> None:
    service = yaml.safe_load((render("compose", home) / "compose.yaml").read_text())["services"]["node"]
    compile(service["healthcheck"]["test"][3], "health check", "exec")


# --- TLS


def set_tls(home: Path, *, clients: bool) -> None:
    set_key(home, "rpc", 'tls_certificate = "tls/node.pem"')
    set_key(home, "rpc", 'tls_key = "tls/node.key"')
    if clients:
        set_key(home, "rpc", 'tls_client_ca = "tls/clients.pem"')


@pytest.mark.parametrize("clients", [False, True])
def test_with_tls_the_probes_speak_it_and_the_files_come_from_the_secret(
    tmp_path: Path, clients: bool
) -> None:
    home = make_home(tmp_path)
    set_tls(home, clients=clients)
    probe = yaml.safe_load((render("compose", home) / "compose.yaml").read_text())["services"]["node"][
        "healthcheck"
    ]["test"][3]
    compile(probe, "health check", "exec")
    assert "ssl" in probe
    chart = render("helm", home)
    for item in objects(chart):
        kubernetes_validate.validate(item, KUBERNETES_VERSION, strict=True)
        if item["kind"] == "StatefulSet":
            [node] = item["spec"]["template"]["spec"]["containers"]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if clients:
            assert node[name]["exec"]["command"] == ["python", "-c", probe]
        else:
            assert node[name]["httpGet"]["scheme"] == "HTTPS"
    variables = {item["name"]: item["value"] for item in node["env"]}
    assert variables["DREX_RPC_TLS_CERTIFICATE"] == "/keys/node.pem"
    assert variables["DREX_RPC_TLS_KEY"] == "/keys/node.key"
    assert variables.get("DREX_RPC_TLS_CLIENT_CA") == ("/keys/clients.pem" if clients else None)
    assert "--from-file=tls/node.key" in (chart / "values.yaml").read_text()


# --- helm


def objects(folder: Path) -> Iterator[dict[str, Any]]:
    """The chart's objects with its own values. The templates may use plain values alone."""
    values = yaml.safe_load((folder / "values.yaml").read_text())

    def value(found: re.Match[str]) -> str:
        scope, _, path = found[1].partition(".")
        assert scope in ("Release", "Values"), found[0]
        if scope == "Release":
            return {"Name": "node-a", "Namespace": "drex"}[path]
        here = values
        for part in path.split("."):
            here = here[part]
        return str(here)

    for path in sorted((folder / "templates").glob("*.yaml")):
        text = path.read_text().replace('{{ "{{" }}', "\0")
        text = re.sub(r"\{\{ \.(\S+) \}\}", value, text)
        assert "{{" not in text, path.name
        yield yaml.safe_load(text.replace("\0", "{{"))


def test_kubernetes_accepts_every_object_of_the_chart(home: Path) -> None:
    found = list(objects(render("helm", home)))
    for item in found:
        kubernetes_validate.validate(item, KUBERNETES_VERSION, strict=True)
    kinds = {item["kind"] for item in found}
    assert kinds == {
        "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet",
    }  # fmt: skip


def test_the_validation_finds_a_wrong_field(tmp_path: Path) -> None:
    found = list(objects(render("helm", make_home(tmp_path))))
    wrong = next(item for item in found if item["kind"] == "StatefulSet")
    wrong["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES_VERSION, strict=True)


def test_one_release_is_one_node_with_probes_and_without_privileges(home: Path) -> None:
    found = {item["kind"]: item for item in objects(render("helm", home))}
    spec = found["StatefulSet"]["spec"]
    assert spec["replicas"] == 1
    pod = spec["template"]["spec"]
    [node] = pod["containers"]
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    assert [node[name]["httpGet"]["path"] for name in probes] == ["/startupz", "/livez", "/readyz"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    labels = spec["template"]["metadata"]["labels"]
    for kind in ("PodDisruptionBudget", "Service", "NetworkPolicy"):
        chosen = found[kind]["spec"]
        selector = chosen.get("podSelector", chosen.get("selector"))
        selector = selector.get("matchLabels", selector)
        assert selector.items() <= labels.items()
    mounted = {volume["name"] for volume in pod["volumes"]} | {
        claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]
    }
    used = {
        mount["name"]
        for item in (*pod["containers"], *pod["initContainers"])
        for mount in item["volumeMounts"]
    }
    assert used == mounted


def test_the_configuration_arrives_unchanged_even_if_it_looks_like_a_template(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with (home / "drexnode.toml").open("a") as file:
        file.write("# {{ not a template }}\n")
    found = next(item for item in objects(render("helm", home)) if item["kind"] == "ConfigMap")
    assert found["data"]["drexnode.toml"] == (home / "drexnode.toml").read_text()
    assert found["data"]["genesis.json"] == (home / "genesis.json").read_text()


def test_the_chart_names_itself(home: Path) -> None:
    chart = yaml.safe_load((render("helm", home) / "Chart.yaml").read_text())
    assert chart["apiVersion"] == "v2"
    assert chart["name"] == f"drexnode-{home.name}"


def test_a_genesis_too_large_for_a_config_map_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helm_module, "MAX_CONFIG_MAP_BYTES", 10)
    home = make_home(tmp_path)
    code = refused("render", "helm", "--home", home, "--out", tmp_path / "c", "--image", "x")
    assert code == (output.FAILURE, "RENDER_TOO_LARGE")


def test_ports_that_are_not_fixed_are_refused(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    set_key(home, "rpc", "port = 0")
    code, error = command("render", "helm", "--home", home, "--out", tmp_path / "c", "--image", "x")
    assert (code, error["code"]) == (output.CONFIGURATION, "CONFIG_BAD_VALUE")
