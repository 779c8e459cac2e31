"""Every attack against a validator of a real network under load: what it costs, and do blocks still come?

    python -m tests.attacks.run [--seconds 10] [--rate 50] [--only NAME …] [--out FILE]

Four validators, each a process; transfers go to two of them, another is attacked by a process of its own (as
strangers, as a permitted full node, and last with the keys of a validator that was stopped). The time of
each attack is compared with as long a time just before it: the victim's memory, its share of a core, the
interval between blocks. The bounds are growth < 100 MB, at most 25 % of a core more, interval < 20 % longer.
Ends with 1 when one is broken. A machine that does other work meanwhile says little: the load is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from drexnode import client as rpc
from drexnode.cli.locate import client_of_home
from drexnode.config import load_config
from drexnode.devnet import DevnetNode
from drexnode.join_bundle import read_bundle
from drexnode.keystore import read_plain_key
from drexnode.processes import LOG_FILE, reap
from tests.attacks.villains import ATTACKS, BEGUN
from tests.network.machine import machine_line
from tests.network.net import ENVIRONMENT, Network, network
from tests.network.steady import SteadyLoad, headers, intervals_ms, signed_transfers

MAX_GROWTH_BYTES = 100_000_000
MAX_SHARE = 0.25
MAX_LONGER = 0.20
VICTIM, TAKEN_OVER = "validator-0", "validator-3"
OTHERS = ["validator-1", "validator-2"]
NEEDS_A_VALIDATOR = "unknown_ids"
VILLAIN_NICE = 5  # an attacker has a machine of its own: what it uses here should not be the victim's
END_S = 300  # for an attack to end, on a busy machine
SETTLE_S = 1.0
STARTING_S = 40.0  # between two attacks, on a busy machine


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen of the victim for a while."""

    resident_bytes: int
    share: float  # of a core
    interval_ms: float  # mean between blocks
    longest_ms: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attack beside the time before it."""

    attack: str
    blows: int
    cuts: int
    banned: bool
    growth_bytes: int
    share: float  # of a core, on top of what it was
    share_before: float
    longer: float  # the mean interval's growth, as a fraction of it
    longest_ms: int

    @property
    def broken(self) -> list[str]:
        """The bounds that do not hold."""
        bounds = {
            "memory": self.growth_bytes < MAX_GROWTH_BYTES,
            "processor": self.share <= MAX_SHARE,
            "interval": self.longer < MAX_LONGER,
        }
        return [name for name, holds in bounds.items() if not holds]

    def __str__(self) -> str:
        verdict = f"BROKEN: {', '.join(self.broken)}" if self.broken else "ok"
        end = "banned" if self.banned else ""
        return (
            f"{self.attack:20} {self.blows:7} blows {self.cuts:5} cut {end:6} "
            f"{self.growth_bytes / 1e6:+6.1f} MB "
            f"{self.share:+5.0%} of a core (was {self.share_before:.0%}), "
            f"interval {self.longer:+5.0%}, longest {self.longest_ms} ms: {verdict}"
        )


def _ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def look(net: Network, seconds: float, pid: int) -> Window:
    """Watch the victim and the chain for a while; the largest memory of the time counts."""
    first = net.ask(OTHERS[0], rpc.block_number())
    used_s, started, resident = _ticks(pid), time.monotonic(), _resident(pid)
    while time.monotonic() < started + seconds:
        time.sleep(0.1)
        resident = max(resident, _resident(pid))
    took_s = time.monotonic() - started
    share = (_ticks(pid) - used_s) / took_s
    last = net.ask(OTHERS[0], rpc.block_number())
    spans = intervals_ms(headers(net, OTHERS[0], first, last)) or [round(took_s * 1000)]
    return Window(resident, share, statistics.mean(spans), max(spans), last - first)


def invited_seed(net: Network) -> bytes:
    """The identity key of a newly permitted full node."""
    bundle = net.folder / "villain.json"
    net.json("registry", "invite", "full", "99990001", "--by", "bcb-registry", "--bundle", bundle)
    return read_bundle(bundle).body.peer_seed


def attack(net: Network, name: str, seed: bytes, seconds: float) -> Outcome:
    """Carry one attack out, and compare."""
    victim = net.devnet.node(VICTIM)
    process = victim.process
    assert process is not None
    if name == NEEDS_A_VALIDATOR:
        net.devnet.kill(net.devnet.node(TAKEN_OVER))
        time.sleep(SETTLE_S)
    before = look(net, seconds, process.pid)
    target = {
        "address": victim.p2p_address,
        "rpc_url": net.devnet.node(OTHERS[0]).rpc_url,
        "genesis": str(net.folder / "genesis.json"),
        "seed": seed.hex(),
    }
    if name == NEEDS_A_VALIDATOR:
        config = load_config(net.devnet.node(TAKEN_OVER).home, environment={})
        target["validator_seed"] = read_plain_key(config.validator_key_path).seed.hex()
        target["validator_peer_seed"] = read_plain_key(config.peer_key_path).seed.hex()
    command = ["nice", "-n", str(VILLAIN_NICE), sys.executable, "-m", "tests.attacks.villains", name]
    villain = subprocess.Popen(
        [*command, "--seconds", str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert villain.stdin is not None
    villain.stdin.write(json.dumps(target))
    villain.stdin.close()
    villain.stdin = None
    assert villain.stdout is not None
    assert villain.stdout.readline().strip() == BEGUN
    during = look(net, seconds, process.pid)
    said, _ = villain.communicate(timeout=END_S)
    assert villain.returncode == 0, f"the villain of {name} broke down itself: exit code {villain.returncode}"
    counts = json.loads(said.splitlines()[-1])  # behind what it logged
    if name == NEEDS_A_VALIDATOR:
        net.devnet.start(net.devnet.node(TAKEN_OVER))
    assert victim.process == process, f"{VICTIM} did not survive {name}: {last_words(victim)}"
    return Outcome(
        attack=name,
        blows=counts.get("blows", 0),
        cuts=counts.get("cuts", 0),
        banned=pardon(net),
        growth_bytes=during.resident_bytes - before.resident_bytes,
        share=during.share - before.share,
        share_before=before.share,
        longer=during.interval_ms / before.interval_ms - 1,
        longest_ms=during.longest_ms,
    )


def last_words(node: DevnetNode) -> str:
    """How a node that is gone ended: exit codes of this program's children, and the end of its log."""
    log = (node.home / LOG_FILE).read_text(errors="replace").splitlines()[-40:]
    return "\n".join([f"exit codes by pid: {reap()}", *log])


def pardon(net: Network) -> bool:
    """Lift the victim's bans, so that the next attack is let in; true if there were any."""
    with client_of_home(load_config(net.devnet.node(VICTIM).home, environment={})) as client:
        bans = client.run(rpc.bans())
        for ban in bans:
            client.run(rpc.unban(ban["peer_id"]))
    return bool(bans)


def run(net: Network, names: Sequence[str], seconds: float, rate: int) -> list[Outcome]:
    """All attacks of `names`, one after another, under one load."""
    seed = invited_seed(net)
    transfers = signed_transfers(net, round(rate * len(names) * (2 * seconds + STARTING_S)))
    load = SteadyLoad(net, transfers, rate, OTHERS)
    outcomes = []
    with load.running():
        time.sleep(SETTLE_S)
        for name in names:
            outcomes.append(attack(net, name, seed, seconds))
            print(outcomes[-1], flush=True)
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack, and before it")
    parser.add_argument("--rate", type=int, default=50, help="transfers a second meanwhile")
    parser.add_argument("--only", action="append", choices=sorted(ATTACKS), help="repeatable")
    parser.add_argument("--out", type=Path, help="figures as JSON")
    given = parser.parse_args(arguments)
    machine = machine_line()
    print(machine, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="drexnode-attacks-"))
    print(f"logs are in {folder}", flush=True)
    with network(folder / "net", full=0, observers=0) as net:
        outcomes = run(net, given.only or list(ATTACKS), given.seconds, given.rate)
    if given.out is not None:
        document = {"machine": machine, "outcomes": [asdict(outcome) for outcome in outcomes]}
        given.out.write_text(json.dumps(document, indent=2) + "\n")
    if any(outcome.broken for outcome in outcomes):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
