"""`python -m tests.wholenode`: replay a seed on whole nodes, search for violations, hunt mutants."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback

from tests.wholenode.mutants import MUTANTS
from tests.wholenode.plots import PLOTS
from tests.wholenode.schedules import run_schedule
from tests.wholenode.search import Tally, describe, hunt_mutant, search

EXAMPLES = """\
examples:
  python -m tests.wholenode --seed 42
  python -m tests.wholenode search --schedules 10000 --jobs 2
  python -m tests.wholenode mutants
"""


def commit() -> str:
    """The commit this runs on, with + when the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def replay(seed: int, plot: str | None) -> int:
    """One schedule: seed, commit, trace hash; the violation and where it arose, if there is one."""
    print(f"seed {seed}  commit {commit()}")
    try:
        result = run_schedule(seed, plot)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        traceback.print_exception(error)
        kind, what = describe(error)
        print(f"VIOLATION  {kind}: {what}")
        return 1
    print(
        f"plot {result.plot}  height {result.heights}  {result.messages} messages  "
        f"{result.starts} node starts  {result.simulated_s:.1f} s simulated"
        f"{'  over real links' if result.links else ''}"
    )
    print(f"trace {result.trace:08x}")
    return 0


def run_search(options: argparse.Namespace) -> int:
    """Many seeds; progress on stderr, a JSON summary on stdout, how to replay each violation on stderr."""
    started, shown = time.monotonic(), 0.0

    def progress(tally: Tally) -> None:
        nonlocal shown
        is_terminal = sys.stderr.isatty()
        if time.monotonic() - shown > (0.5 if is_terminal else 10):
            shown = time.monotonic()
            line = f"\r{shown - started:5.0f} s  {tally.line()}"
            print(line, end="" if is_terminal else "\n", file=sys.stderr, flush=True)

    total = search(options.schedules, options.first, options.jobs, progress)
    print(f"\n{total.line()}", file=sys.stderr)
    print(json.dumps({"commit": commit(), "first_seed": options.first, **total.summary()}, indent=2))
    for seed, kind, what in total.found[:20]:
        print(f"VIOLATION  {kind}: {what}\n  make sim-nodes SEED={seed}", file=sys.stderr)
    return 1 if total.found else 0


def run_mutants(names: list[str]) -> int:
    """Each seeded fault must be found within its number of schedules."""
    hidden = 0
    for name in names or list(MUTANTS):
        started = time.monotonic()
        found = hunt_mutant(name)
        hidden += found is None
        within = MUTANTS[name].within
        what = f"schedule {found[0]:4} of {within}: {found[1][:80]}" if found else f"HIDDEN after {within}"
        print(f"{name:34} {time.monotonic() - started:6.1f} s  {what}", flush=True)
    return 1 if hidden else 0


def main(arguments: list[str] | None = None) -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.wholenode",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="replay this schedule")
    parser.add_argument(
        "--plot", choices=sorted(PLOTS), help="what goes wrong; by default the seed's own plot"
    )
    commands = parser.add_subparsers(dest="command")
    searching = commands.add_parser("search", help="run many seeds, print a JSON summary")
    searching.add_argument("--schedules", type=int, default=1000)
    searching.add_argument("--first", type=int, default=0, help="the first seed")
    searching.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    hunting = commands.add_parser("mutants", help="find every seeded fault")
    hunting.add_argument("names", nargs="*", help="some of them; by default all")
    options = parser.parse_args(arguments)
    if options.command == "search":
        return run_search(options)
    if options.command == "mutants":
        return run_mutants(options.names)
    if options.seed is None:
        parser.error("give --seed N, or a command")
    return replay(options.seed, options.plot)


if __name__ == "__main__":
    sys.exit(main())
