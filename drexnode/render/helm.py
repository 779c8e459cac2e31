"""A Helm chart for one node: StatefulSet, service, configuration, keys from a Secret, PDB, network policy.

One release is one node, always with one replica: a validator's key must never run twice. Keys come from a
Secret that the operator makes; a container that runs first copies them to memory with the mode the node asks
for. The templates use plain values alone (`{{ .Values.x }}`, the release's name), no logic.
"""

from __future__ import annotations

from pathlib import Path

from drexnode.config import NodeConfig
from drexnode.render.files import Rendered, indented, listen_port, live_probe, quoted
from drexnode.version import VERSION
from primitives.errors import DrexError

MAX_CONFIG_MAP_BYTES = 900_000
UID = 10001
HOME = "/var/lib/drexnode"
KUBERNETES = ">=1.25.0-0"


def helm_chart(config: NodeConfig, *, image: str, genesis: str) -> Rendered:
    """The chart of a home; `genesis` is the genesis document's text. Raises `DrexError` RENDER_TOO_LARGE."""
    if len(genesis.encode()) > MAX_CONFIG_MAP_BYTES:
        message = f"the genesis document has more than {MAX_CONFIG_MAP_BYTES:,} bytes: no ConfigMap holds it"
        raise DrexError("RENDER_TOO_LARGE", message, next="put it into the image, and set node.genesis")
    toml = (config.home / "drexnode.toml").read_text("utf-8")
    templates = {
        "configmap": _configmap(toml, genesis),
        "networkpolicy": _network_policy(),
        "poddisruptionbudget": _disruption_budget(),
        "service": _services(),
        "serviceaccount": _service_account(),
        "statefulset": _stateful_set(config),
    }
    return {
        "Chart.yaml": _chart(config),
        "values.yaml": _values(config, image),
        **{f"templates/{name}.yaml": text for name, text in templates.items()},
        "templates/NOTES.txt": _NOTES.replace("http:", "https:") if config.rpc.tls_certificate else _NOTES,
    }


def _chart(config: NodeConfig) -> str:
    return f"""\
apiVersion: v2
name: drexnode-{config.node.name.lower()}
description: {quoted(f"drexnode {config.node.name}, {config.node.role}")}
type: application
version: {VERSION}
appVersion: {quoted(VERSION)}
kubeVersion: {quoted(KUBERNETES)}
"""


def _values(config: NodeConfig, image: str) -> str:
    return f"""\
# One release is one node. Pin the image by digest: registry/drexnode@sha256:…
image: {quoted(image)}
# A Secret with peer.key{" and validator.key" if config.node.role == "validator" else ""}, made by:
#   kubectl create secret generic NAME --from-file=keys/{_more_secrets(config)}
keysSecret: {quoted(f"drexnode-{config.node.name.lower()}-keys")}
role: {config.node.role}
storage:
  class: standard
  data: 100Gi
  signer: 1Gi
resources:
  cpu: "2"
  memory: 4Gi
ports:
  p2p: {listen_port(config)}
  rpc: {config.rpc.port}
"""


def _more_secrets(config: NodeConfig) -> str:
    rpc = config.rpc
    paths = [path for path in (rpc.tls_certificate, rpc.tls_key, rpc.tls_client_ca) if path]
    return "".join(f" --from-file={path}" for path in paths)


_LABELS = """\
app.kubernetes.io/name: drexnode
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.role }}
"""
_SELECTOR = """\
app.kubernetes.io/name: drexnode
app.kubernetes.io/instance: {{ .Release.Name }}
"""


def _metadata(suffix: str = "") -> str:
    return f"metadata:\n  name: {{{{ .Release.Name }}}}{suffix}\n  labels:\n{indented(_LABELS, 4)}"


def _service_account() -> str:
    return f"apiVersion: v1\nkind: ServiceAccount\n{_metadata()}automountServiceAccountToken: false\n"


def _configmap(toml: str, genesis: str) -> str:
    return f"""\
apiVersion: v1
kind: ConfigMap
{_metadata()}data:
  drexnode.toml: |
{indented(_escaped(toml), 4)}  genesis.json: |
{indented(_escaped(genesis), 4)}"""


def _escaped(text: str) -> str:
    """Text in which Helm finds nothing to evaluate."""
    return text.replace("{{", '{{ "{{" }}')


def _services() -> str:
    return f"""\
apiVersion: v1
kind: Service
{_metadata()}spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
{indented(_SELECTOR, 4)}  ports:
    - {{name: p2p, port: {{{{ .Values.ports.p2p }}}}, targetPort: p2p, protocol: TCP}}
    - {{name: rpc, port: {{{{ .Values.ports.rpc }}}}, targetPort: rpc, protocol: TCP}}
"""


def _disruption_budget() -> str:
    """Of all nodes of a role in the namespace one may be taken down at a time: quorums outlive a drain."""
    return f"""\
apiVersion: policy/v1
kind: PodDisruptionBudget
{_metadata()}spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: drexnode
      app.kubernetes.io/component: {{{{ .Values.role }}}}
"""


def _network_policy() -> str:
    """Peers may come from anywhere, the RPC from pods that carry the label alone."""
    return f"""\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{_metadata()}spec:
  podSelector:
    matchLabels:
{indented(_SELECTOR, 6)}  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - {{port: p2p, protocol: TCP}}
    - from:
        - podSelector:
            matchLabels:
              drexnode/rpc: allowed
      ports:
        - {{port: rpc, protocol: TCP}}
  egress:
    - ports:
        - {{port: 53, protocol: UDP}}
        - {{port: 53, protocol: TCP}}
    - ports:
        - {{port: 1024, endPort: 65535, protocol: TCP}}
"""


def _stateful_set(config: NodeConfig) -> str:
    return f"""\
apiVersion: apps/v1
kind: StatefulSet
{_metadata()}spec:
  replicas: 1
  serviceName: {{{{ .Release.Name }}}}
  updateStrategy: {{type: RollingUpdate}}
  selector:
    matchLabels:
{indented(_SELECTOR, 6)}  template:
    metadata:
      labels:
{indented(_LABELS, 8)}    spec:
      serviceAccountName: {{{{ .Release.Name }}}}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 60
      securityContext:
        runAsNonRoot: true
        runAsUser: {UID}
        runAsGroup: {UID}
        fsGroup: {UID}
        seccompProfile: {{type: RuntimeDefault}}
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm:
                topologyKey: kubernetes.io/hostname
                labelSelector:
                  matchLabels:
                    app.kubernetes.io/name: drexnode
                    app.kubernetes.io/component: {{{{ .Values.role }}}}
      initContainers:
{indented(_first_container(), 8)}      containers:
{indented(_container(config), 8)}      volumes:
        - {{name: config, configMap: {{name: {{{{ .Release.Name }}}}}}}}
        - {{name: sealed-keys, secret: {{secretName: {{{{ .Values.keysSecret }}}}, defaultMode: 0440}}}}
        - {{name: keys, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}
        - {{name: tmp, emptyDir: {{sizeLimit: 64Mi}}}}
  volumeClaimTemplates:
{indented(_claim("data") + _claim("signer"), 4)}"""


def _claim(name: str) -> str:
    return f"""\
- metadata: {{name: {name}}}
  spec:
    accessModes: [ReadWriteOnce]
    storageClassName: {{{{ .Values.storage.class }}}}
    resources: {{requests: {{storage: {{{{ .Values.storage.{name} }}}}}}}}
"""


_SECURITY = """\
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
"""


def _first_container() -> str:
    """Copies the keys: a mounted Secret can be read by the group, and the node refuses such keys."""
    return f"""\
- name: keys
  image: {{{{ .Values.image }}}}
  command: ["sh", "-c", "cp /sealed-keys/* /keys/ && chmod 0600 /keys/*"]
{indented(_SECURITY, 2)}  resources:
    requests: {{cpu: 10m, memory: 16Mi}}
    limits: {{cpu: 100m, memory: 64Mi}}
  volumeMounts:
    - {{name: sealed-keys, mountPath: /sealed-keys, readOnly: true}}
    - {{name: keys, mountPath: /keys}}
"""


def _container(config: NodeConfig) -> str:
    probes = "".join(
        f"{name}:\n  {_probe(config, path)}\n  periodSeconds: {every}\n"
        f"  timeoutSeconds: 5\n  failureThreshold: {failures}\n"
        for name, path, every, failures in (
            ("startupProbe", "startupz", 5, 120),
            ("livenessProbe", "livez", 10, 6),
            ("readinessProbe", "readyz", 5, 2),
        )
    )
    return f"""\
- name: node
  image: {{{{ .Values.image }}}}
  args: ["start", "--home", "{HOME}"]
  env:
    - {{name: DREX_RPC_HOST, value: "0.0.0.0"}}
    - {{name: DREX_LOG_FORMAT, value: json}}
    - {{name: DREX_KEYS_PEER, value: /keys/peer.key}}
    - {{name: DREX_KEYS_VALIDATOR, value: /keys/validator.key}}
{indented(_tls_files(config), 4)}  ports:
    - {{name: p2p, containerPort: {{{{ .Values.ports.p2p }}}}, protocol: TCP}}
    - {{name: rpc, containerPort: {{{{ .Values.ports.rpc }}}}, protocol: TCP}}
{indented(probes, 2)}{indented(_SECURITY, 2)}  resources:
    requests: {{cpu: {{{{ .Values.resources.cpu }}}}, memory: {{{{ .Values.resources.memory }}}}}}
    limits: {{memory: {{{{ .Values.resources.memory }}}}}}
  volumeMounts:
    - {{name: config, mountPath: {HOME}/drexnode.toml, subPath: drexnode.toml, readOnly: true}}
    - {{name: config, mountPath: {HOME}/genesis.json, subPath: genesis.json, readOnly: true}}
    - {{name: keys, mountPath: /keys}}
    - {{name: data, mountPath: {HOME}/data}}
    - {{name: signer, mountPath: {HOME}/signer}}
    - {{name: tmp, mountPath: /tmp}}
"""


def _probe(config: NodeConfig, path: str) -> str:
    """How Kubernetes asks: it checks no certificate, and has none where the node demands one."""
    if config.rpc.tls_client_ca:
        return f"exec: {{command: [python, -c, {quoted(live_probe(config))}]}}"
    scheme = ", scheme: HTTPS" if config.rpc.tls_certificate else ""
    return f"httpGet: {{path: /{path}, port: rpc{scheme}}}"


def _tls_files(config: NodeConfig) -> str:
    """TLS files come from the same Secret as the keys, by their names."""
    rpc = config.rpc
    given = {"CERTIFICATE": rpc.tls_certificate, "KEY": rpc.tls_key, "CLIENT_CA": rpc.tls_client_ca}
    return "".join(
        f"- {{name: DREX_RPC_TLS_{name}, value: {quoted(f'/keys/{Path(path).name}')}}}\n"
        for name, path in given.items()
        if path
    )


_NOTES = """\
{{ .Release.Name }} is a drexnode {{ .Values.role }}.

  kubectl port-forward {{ .Release.Name }}-0 {{ .Values.ports.rpc }}
  drexnode status --rpc http://127.0.0.1:{{ .Values.ports.rpc }}

A validator's sign watermark lives on the volume "signer" and moves with its key by drexnode signer
export-state and import-state, never by a copy of the volume. Pods that may use the RPC carry the label
drexnode/rpc=allowed.
"""
