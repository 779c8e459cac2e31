"""Hardened systemd units for a home: the node's, and the signer's when the home has one of its own.

The exit codes decide about restarts: what a restart can't mend (usage, configuration, corrupt data, unsafe)
is not restarted; a crash and "try again" are.
"""

from __future__ import annotations

from pathlib import Path

from drexnode.config import NodeConfig
from drexnode.render.files import Rendered

OPEN_FILES = 65_536
STOP_TIMEOUT_S = 60
NOT_RESTARTED = "2 3 7 8"
CREDENTIAL = "passphrase"

_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome={protect_home}
ReadWritePaths={home}
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
DevicePolicy=closed
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077
"""


def systemd_units(config: NodeConfig, *, user: str, program: Path, passphrase: Path | None) -> Rendered:
    """The units of a home. `passphrase` is a file that systemd hands over as a credential."""
    name = f"drexnode-{config.node.name}"
    signer = f"{name}-signer.service" if config.signer_socket is not None else None
    secret = None if passphrase is None else f"LoadCredential={CREDENTIAL}:{passphrase.resolve()}\n"
    files = {f"{name}.service": _node_unit(config, user, program, signer, None if signer else secret)}
    if signer is not None:
        files[signer] = _signer_unit(config, user, program, secret)
    return files


def _node_unit(config: NodeConfig, user: str, program: Path, signer: str | None, secret: str | None) -> str:
    after = f" {signer}" if signer else ""
    wants = f"\nRequires={signer}" if signer else ""
    return f"""\
# Made by: drexnode render systemd --home {config.home}
[Unit]
Description=drexnode {config.node.name} ({config.node.role})
Wants=network-online.target
After=network-online.target time-sync.target{after}{wants}
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
ExecStart={program} start --home {config.home}{_passphrase_option(secret)}
Environment=DREX_LOG_FORMAT=json
LimitNOFILE={OPEN_FILES}
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
{secret or ""}{_common(config, user)}
[Install]
WantedBy=multi-user.target
"""


def _signer_unit(config: NodeConfig, user: str, program: Path, secret: str | None) -> str:
    """The key's process needs no network at all."""
    return f"""\
# Made by: drexnode render systemd --home {config.home}
[Unit]
Description=drexnode {config.node.name}: the validator's key
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
ExecStart={program} signer run --home {config.home}{_passphrase_option(secret)}
Environment=DREX_LOG_FORMAT=json
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
{secret or ""}{_common(config, user)}
[Install]
WantedBy=multi-user.target
"""


def _passphrase_option(secret: str | None) -> str:
    return f" --passphrase-file %d/{CREDENTIAL}" if secret else ""


def _common(config: NodeConfig, user: str) -> str:
    in_homes = config.home.parts[1:2] in (("home",), ("root",))
    hardening = _HARDENING.format(home=config.home, protect_home="tmpfs" if in_homes else "yes")
    if in_homes:
        hardening += f"BindPaths={config.home}\n"
    return f"""\
Type=exec
User={user}
Group={user}
WorkingDirectory={config.home}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus={NOT_RESTARTED}
TimeoutStopSec={STOP_TIMEOUT_S}
{hardening}"""
