"""The command line `sdkit`: the list of commands, and the one place where errors become a red line."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sdkit.cli import (
    bench,
    compare,
    data,
    decode,
    doctor,
    encode,
    evaluate,
    export,
    generate,
    info,
    methods,
    reconstruct,
    render,
    reproduce,
    serve,
    swap,
    train,
    tune,
    verify,
)
from sdkit.cli.screen import err
from sdkit.runtime.errors import SdkitError
from sdkit.runtime.text import one_line

USER_ERROR = 2


class Group(TyperGroup):
    """Commands whose known errors end as one red line and exit code 2."""

    def invoke(self, ctx: Any) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (SdkitError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            err.print(f"error: {one_line(str(error))}", style="red", markup=False)
            raise typer.Exit(USER_ERROR) from error


app = typer.Typer(
    cls=Group,
    help="Split sequences into one static code and a dynamic code a step, and ship the learned split anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data", help="Make and inspect data sets.")
for module in (
    *(methods, train, tune, export, serve, verify),
    *(encode, decode, reconstruct, swap, generate, render),
    *(evaluate, compare, reproduce, bench, info, doctor),
):
    app.command()(getattr(module, module.__name__.rpartition(".")[2]))


def _version(value: bool) -> None:
    if value:
        import sdkit

        typer.echo(f"sdkit {sdkit.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Handle the options that stand before a command."""


def main() -> None:
    """Run the command line."""
    app()
