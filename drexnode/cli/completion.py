"""`drexnode completion`: a shell's completion script, made by Click."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from drexnode.cli.options import ExampleCommand


@click.command("completion", cls=ExampleCommand, example='eval "$(drexnode completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(ctx.find_root().command, {}, "drexnode", "_DREXNODE_COMPLETE").source())
