"""A container for a home: Dockerfile and compose file, pinned, not as root, read-only but for the home.

The image is built from a checkout of the program; its dependencies come from the lock file with hashes. The
RPC is published on the host's loopback alone.
"""

from __future__ import annotations

from pathlib import Path

from drexnode.config import NodeConfig
from drexnode.render.files import Rendered, listen_port, live_probe, quoted
from drexnode.version import VERSION

PYTHON_IMAGE = "python:3.11.11-slim-bookworm"
UID = 10001
HOME = "/var/lib/drexnode"


def compose_files(config: NodeConfig, *, source: Path, folder: Path, python_image: str) -> Rendered:
    """`compose.yaml` and, in the same `folder`, the `Dockerfile` that it builds from `source`, a checkout."""
    return {
        "Dockerfile": _dockerfile(python_image),
        "Dockerfile.dockerignore": ".git\n.venv\n**/__pycache__\ntests\ndevnet\n",
        "compose.yaml": _compose(config, source, folder),
    }


def _dockerfile(python_image: str) -> str:
    return f"""\
# drexnode {VERSION}. Pin the base by digest too: drexnode render compose --python-image python@sha256:…
FROM {python_image} AS build
WORKDIR /source
COPY requirements/runtime.lock requirements/runtime.lock
RUN python -m venv /opt/drexnode && /opt/drexnode/bin/pip install --no-cache-dir --no-deps --require-hashes \\
    --only-binary :all: --no-binary varint,python-baseconv -r requirements/runtime.lock
COPY . .
RUN /opt/drexnode/bin/pip install --no-cache-dir "setuptools>=77" \\
    && /opt/drexnode/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \\
    && /opt/drexnode/bin/pip uninstall --yes setuptools pip

FROM {python_image}
RUN groupadd --gid {UID} drexnode \\
    && useradd --uid {UID} --gid {UID} --home-dir {HOME} --shell /usr/sbin/nologin drexnode \\
    && install --directory --owner={UID} --group={UID} --mode=0700 {HOME}
COPY --from=build /opt/drexnode /opt/drexnode
ENV PATH=/opt/drexnode/bin:$PATH PYTHONDONTWRITEBYTECODE=1 DREX_HOME={HOME} DREX_LOG_FORMAT=json
USER {UID}:{UID}
WORKDIR {HOME}
VOLUME {HOME}
STOPSIGNAL SIGTERM
ENTRYPOINT ["drexnode"]
CMD ["start"]
"""


def _compose(config: NodeConfig, source: Path, folder: Path) -> str:
    name, rpc, p2p = config.node.name, config.rpc.port, listen_port(config)
    probe = live_probe(config)
    return f"""\
# Made by: drexnode render compose --home {config.home}
# The home must belong to uid {UID}: chown -R {UID}:{UID} {config.home}
name: drexnode-{name.lower()}
services:
  node:
    image: drexnode:{VERSION}
    build:
      context: {quoted(str(source.resolve()))}
      dockerfile: {quoted(str(folder.resolve() / "Dockerfile"))}
    command: ["start", "--set", "rpc.host=0.0.0.0"]
    user: "{UID}:{UID}"
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: on-failure
    stop_grace_period: 60s
    init: true
    tmpfs: ["/tmp"]
    volumes:
      - type: bind
        source: {quoted(str(config.home))}
        target: {HOME}
    ports:
      - "{p2p}:{p2p}"
      - "127.0.0.1:{rpc}:{rpc}"
    ulimits:
      nofile: {{soft: 65536, hard: 65536}}
    healthcheck:
      test: ["CMD", "python", "-c", "{probe}"]
      interval: 10s
      timeout: 5s
      retries: 3
      start_period: 120s
    logging:
      driver: json-file
      options: {{max-size: "100m", max-file: "5"}}
"""
