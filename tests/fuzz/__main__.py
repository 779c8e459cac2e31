"""Fuzz decoders: `python -m tests.fuzz [TARGET …] [--minutes 1] [--seed 0]`.

With atheris installed: `--atheris TARGET` hands the same function to libFuzzer. A finding is printed with the
bytes that cause it and ends the run with exit code 1; so does memory that grows past the bound.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import time
from random import Random

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, Target

MAX_GROWTH_KIB = 200 * 1024
KEPT = 4096  # inputs kept for further mutation


def fuzz(name: str, target: Target, seconds: float, seed: int) -> bool:
    """Run one target for a while; True when nothing was found."""
    random, kept = Random(seed), target.corpus()
    before, runs, end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(100):
            data = mutate(random.choice(kept), random.choice(kept), random)
            try:
                target.fuzz_one(data)
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {error}\n{data.hex()}", file=sys.stderr)
                return False
            if random.random() < 0.01:
                if len(kept) < KEPT:
                    kept.append(data)
                else:
                    kept[random.randrange(KEPT)] = data
        runs += 100
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name:12} {runs:9} inputs, no finding, memory grew {growth // 1024} MiB", flush=True)
    return growth <= MAX_GROWTH_KIB


def main() -> int:
    """Fuzz the named targets, or all."""
    parser = argparse.ArgumentParser(description="Fuzz the decoders")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true", help="let libFuzzer drive the first target")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if options.atheris:
        atheris = importlib.import_module("atheris")
        atheris.instrument_all()
        atheris.Setup([sys.argv[0]], TARGETS[names[0]].fuzz_one)
        atheris.Fuzz()
    found = [name for name in names if not fuzz(name, TARGETS[name], options.minutes * 60, options.seed)]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
