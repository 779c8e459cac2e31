"""`python -m tests.simulator`: replay a seed, search for violations, hunt mutants, play all twins."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.simulator import mutants
from tests.simulator.schedules import KINDS, RARE_KINDS, run_schedule
from tests.simulator.search import (
    Found,
    Tally,
    fork_of_too_many_twins,
    hunt_mutant,
    run_sampled_twins,
    run_twin_plans,
    search,
)


def commit() -> str:
    """The commit this runs on, with + when the tree differs from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def replay(seed: int, kind: str | None) -> int:
    """One schedule: seed, commit, trace hash; the violation and where it arose, if there is one."""
    print(f"seed {seed}  commit {commit()}")
    try:
        result = run_schedule(seed, kind)
    except Exception as error:
        traceback.print_exc()
        print(f"VIOLATION  {type(error).__name__}: {error}")
        return 1
    print(
        f"kind {result.kind}  height {result.heights}  {result.steps} steps  "
        f"{result.simulated_ms} ms simulated"
    )
    print(f"trace {result.trace:08x}")
    return 0


def how_to_replay(found: Found) -> str:
    """What a search found, and the command that shows it again."""
    seed, name, text = found
    return f"VIOLATION  {name}: {text}\n  make sim SEED={seed}"


def run_search(options: argparse.Namespace) -> int:
    """Many seeds; prints how to replay each violation, and a summary as JSON."""
    first, state = options.from_seed, commit()
    minutes = options.minutes if options.minutes or options.schedules else 1.0
    print(f"from seed {first}  commit {state}")
    started, shown, told = time.monotonic(), 0.0, 0

    def progress(tally: Tally) -> None:
        nonlocal shown, told
        for found in tally.found[told : told + 20]:
            print("\n" + how_to_replay(found), file=sys.stderr, flush=True)
        told = len(tally.found)
        if time.monotonic() - shown > (0.5 if sys.stderr.isatty() else 10):
            shown = time.monotonic()
            end = "" if sys.stderr.isatty() else "\n"
            share = f" of {options.schedules:,}" if options.schedules else ""
            line = f"{shown - started:5.0f} s{share}  {tally.line()}"
            print(f"\r{line}", end=end, file=sys.stderr, flush=True)

    total = search(first, minutes=minutes, schedules=options.schedules, jobs=options.jobs, progress=progress)
    print(f"\n{total.line()}")
    following = first + total.schedules
    seconds = round(time.monotonic() - started, 1)
    span = {"commit": state, "from_seed": first, "next_seed": following, "wall_seconds": seconds}
    summary = json.dumps(span | total.summary(), indent=2)
    print(summary)
    if options.json is not None:
        options.json.write_text(summary + "\n")
    for found in total.found[:20]:
        print(how_to_replay(found))
    print(f"continue with --from-seed {following}")
    return 1 if total.found else 0


def run_mutants(names: list[str]) -> int:
    """Each seeded fault must be found within its number of schedules."""
    hidden = 0
    for name in names or list(mutants.MUTANTS):
        started = time.monotonic()
        found = hunt_mutant(name)
        within = mutants.MUTANTS[name].within
        hidden += found is None
        what = f"schedule {found[0]:4} of {within}: {found[1][:70]}" if found else f"HIDDEN after {within}"
        print(f"{name:42} {time.monotonic() - started:6.1f} s  {what}", flush=True)
    return 1 if hidden else 0


def run_all_twins(stride: int, sampled: int) -> int:
    """f twins never fork: all splits of four rounds for n = 4, `sampled` by chance for n = 7; f + 1 do."""
    broken = False
    for size, total in ((4, run_twin_plans(stride)), (7, run_sampled_twins(sampled))):
        seconds = total.cpu_seconds
        print(
            f"n = {size}, f twins: {total.schedules:,} plans in {seconds:.0f} s, "
            f"{len(total.found)} violations",
            flush=True,
        )
        for number, name, text in total.found[:20]:
            print(f"VIOLATION  plan {number}: {name}: {text}")
        fork = fork_of_too_many_twins(size)
        print(f"n = {size}, f + 1 twins: {fork or 'NO FORK FOUND'}", flush=True)
        broken = broken or bool(total.found) or not fork
    return 1 if broken else 0


def main(arguments: list[str] | None = None) -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this schedule")
    parser.add_argument(
        "--kind", choices=sorted(KINDS | RARE_KINDS), help="the plot; by default the seed's own"
    )
    commands = parser.add_subparsers(dest="command")
    searching = commands.add_parser("search", help="run as many schedules as there is time for")
    searching.add_argument("--minutes", type=float, help="stop after so long; 1 if nothing is said")
    searching.add_argument("--schedules", type=int, help="stop after so many")
    searching.add_argument("--from-seed", type=int, default=0, help="the first seed")
    searching.add_argument("--jobs", type=int, help="processes; by default one a core")
    searching.add_argument("--json", type=Path, help="write the summary there, too")
    hunting = commands.add_parser("mutants", help="find every seeded fault")
    hunting.add_argument("names", nargs="*")
    twinning = commands.add_parser("twins", help="one key on two machines, all splits of four rounds")
    twinning.add_argument("--stride", type=int, default=1, help="play each so-manieth plan only")
    twinning.add_argument("--sampled", type=int, default=2000, help="plans by chance for seven validators")
    options = parser.parse_args(arguments)
    if options.command == "search":
        return run_search(options)
    if options.command == "mutants":
        return run_mutants(options.names)
    if options.command == "twins":
        return run_all_twins(options.stride, options.sampled)
    if options.seed is None:
        parser.error("give --seed N, or a command")
    return replay(options.seed, options.kind)


if __name__ == "__main__":
    sys.exit(main())
