"""Fuzz every decoder with libFuzzer: `python -m tests.fuzz.campaign [TARGET …] --seconds 600 --jobs 2`.

Each target runs in a process of its own with bounded memory. Reported for each: executions, branches reached
before and after, inputs found, peak memory, findings. A finding's bytes stay in the run's folder, are
printed, and end the run with exit code 1. `--keep` adds what was found to `tests/fuzz/corpus`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from tests.fuzz.corpus import read_kept, spread, write_kept
from tests.fuzz.targets import TARGETS

RSS_LIMIT_MB = 512
MAX_INPUT_BYTES = 4096
KILLED = -9  # it did not end in its time: the run proves nothing, and is reported as broken off
ONE_INPUT_S = 30  # of wall clock, on a machine that may be busy
GRACE_S = 900  # to start and end beside the fuzzing, on a machine that may be busy with other work


@dataclass(frozen=True, slots=True)
class Report:
    """What one target's run showed. `first` and `last` are branches reached by the corpus and in the end."""

    name: str
    executions: int
    first: int
    last: int
    inputs: int
    peak_mb: int
    findings: tuple[Path, ...]
    ended: bool

    @property
    def is_clean(self) -> bool:
        return self.ended and self.executions > 0 and not self.findings

    def __str__(self) -> str:
        what = (
            "no finding"
            if self.is_clean
            else f"{len(self.findings)} FINDINGS"
            if self.findings
            else "BROKEN OFF"
        )
        return (
            f"{self.name:12} {self.executions:10} executions  branches {self.first:5} → {self.last:5}  "
            f"{self.inputs:5} inputs  peak {self.peak_mb:4} MiB  {what}"
        )


def run_target(name: str, seconds: int, folder: Path, seed: int) -> Report:
    """Fuzz one target for `seconds`; its log, corpus and findings are left in `folder`/`name`."""
    home = folder / name
    spread([*TARGETS[name].corpus(), *read_kept(name)], home / "corpus")
    found = home / "findings"
    found.mkdir()
    options = (
        f"-max_total_time={seconds} -rss_limit_mb={RSS_LIMIT_MB} -timeout={ONE_INPUT_S} -seed={seed} "
        f"-max_len={MAX_INPUT_BYTES} -print_final_stats=1 -artifact_prefix={found}/"
    )
    log = home / "log"
    with log.open("wb") as out:
        try:
            exit_code = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.libfuzzer", name, *options.split(), str(home / "corpus")],
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=seconds + GRACE_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            exit_code = KILLED
    return read_log(name, log.read_text(errors="replace"), tuple(found.iterdir()), exit_code)


def read_log(name: str, log: str, findings: tuple[Path, ...], exit_code: int) -> Report:
    """What libFuzzer's log says."""
    covered = [int(number) for number in re.findall(r"cov: (\d+)", log)]
    inited = re.search(r"INITED cov: (\d+)", log)
    return Report(
        name,
        executions=_number(r"stat::number_of_executed_units:\s*(\d+)", log),
        first=int(inited[1]) if inited else 0,
        last=max(covered, default=0),
        inputs=_number(r"stat::new_units_added:\s*(\d+)", log),
        peak_mb=_number(r"stat::peak_rss_mb:\s*(\d+)", log),
        findings=findings,
        ended=exit_code == 0,
    )


def _number(pattern: str, log: str) -> int:
    found = re.search(pattern, log)
    return int(found[1]) if found else 0


def keep(name: str, folder: Path) -> int:
    """Keep the shortest inputs of a run that each reached something new; returns how many are kept."""
    found = (path.read_bytes() for path in (folder / name / "corpus").iterdir())
    return write_kept(name, set(found) - set(TARGETS[name].corpus()))


def campaign(names: Sequence[str], seconds: int, jobs: int, folder: Path, seed: int) -> Iterator[Report]:
    """Run the targets, `jobs` at a time; yields reports in the order of `names`."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda name: run_target(name, seconds, folder, seed), names)


@click.command(help=__doc__)
@click.argument("targets", nargs=-1, type=click.Choice([*TARGETS]))
@click.option("--seconds", default=600, show_default=True, help="For each target.")
@click.option("--jobs", default=2, show_default=True, help="Targets at a time.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="An empty folder for logs, corpora and findings."
)
@click.option("--keep", "keep_found", is_flag=True, help="Add found inputs to tests/fuzz/corpus.")
def main(
    targets: tuple[str, ...], seconds: int, jobs: int, seed: int, out: Path | None, keep_found: bool
) -> None:
    folder = (out or Path(tempfile.mkdtemp(prefix="drexnode-fuzz-"))).resolve()
    names = targets or tuple(TARGETS)
    os.nice(10)
    click.echo(f"fuzz: {len(names)} targets, {seconds} s each, {jobs} at a time; logs in {folder}", err=True)
    clean = True
    for report in campaign(names, seconds, jobs, folder, seed):
        click.echo(str(report))
        clean &= report.is_clean
        for path in report.findings:
            click.echo(f"  {path}: {path.read_bytes().hex()}", err=True)
        if not report.is_clean:
            click.echo(
                "  " + "\n  ".join((folder / report.name / "log").read_text().splitlines()[-25:]), err=True
            )
        elif keep_found:
            click.echo(f"  {keep(report.name, folder)} inputs kept", err=True)
    raise SystemExit(0 if clean else 1)


if __name__ == "__main__":
    main()
