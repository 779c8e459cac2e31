"""One target under libFuzzer: `python -m tests.fuzz.libfuzzer TARGET [libFuzzer's options] CORPUS`.

`tests.fuzz.campaign` starts this, one process a target. The project's rooms are instrumented as they are
imported, so that libFuzzer sees which of their branches an input walked. It can't look into the codec, so two
mutations of three are ours, which know MessagePack. Memory is bounded twice: libFuzzer reports what grows
past `-rss_limit_mb`, and the address space has an end.
"""

from __future__ import annotations

import importlib
import resource
import sys
from random import Random

from tests.fuzz.mutate import mutate, mutate_value

ROOMS = ["primitives", "ledger", "consensus", "p2p", "storage", "drexnode"]
ADDRESS_SPACE_BYTES = 2 << 30


def main() -> None:
    """Hand the target named first to libFuzzer; it ends the process."""
    atheris = importlib.import_module("atheris")  # requirements/fuzz.in, not of the node
    with atheris.instrument_imports(include=ROOMS, enable_loader_override=False):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    name, options = sys.argv[1], sys.argv[2:]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        match random.randrange(3):
            case 0:
                return mutate_value(data, random)[:max_size]
            case 1:
                return mutate(data, data, random)[:max_size]
            case _:
                return bytes(atheris.Mutate(data, max_size))

    atheris.Setup([name, *options], targets[name].fuzz_one, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
