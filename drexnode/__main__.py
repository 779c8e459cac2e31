"""`python -m drexnode` and the `drexnode` command."""

from __future__ import annotations

from drexnode.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
