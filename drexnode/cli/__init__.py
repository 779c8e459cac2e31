"""The `drexnode` command (docs/cli.md)."""
