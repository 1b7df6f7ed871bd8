"""The command line `sdkit`: the list of commands, and the one place where errors become a red line."""

import platform
import shlex
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
    stopping,
    swap,
    train,
    tune,
    verify,
)
from sdkit.cli.screen import err, say, stop_bar
from sdkit.runtime.errors import SdkitError, command_line
from sdkit.runtime.text import one_line
from sdkit.runtime.version import __version__

USER_ERROR, CTRL_C = 2, 130
GIVEN = "sdkit.given"
CONTINUED = ("tune", "compare", "reproduce")
"""Commands that go on by themselves where the same one was interrupted."""


class Group(TyperGroup):
    """Commands that end as one line: a known error with exit code 2, an interrupted one with that of its signal."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the arguments, to name the command that continues an interrupted one."""
        ctx.meta[GIVEN] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> object:
        """Run a command."""
        try:
            with command_line():
                return super().invoke(ctx)
        except (SdkitError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            stop_bar()
            err.print(f"error: {one_line(str(error))}", style="red", markup=False)
            raise typer.Exit(USER_ERROR) from error
        except KeyboardInterrupt as error:
            stop_bar()
            say(f"stopped by {stopping.cause()}{self._next(ctx)}")
            raise typer.Exit(stopping.exit_code()) from error
        except Exception as error:
            stop_bar()
            error.add_note(
                f"This is a fault of sdkit {__version__} (Python {platform.python_version()}, {platform.system()}): "
                "please report it with the lines above, the command, and what `sdkit doctor` says."
            )
            raise

    def _next(self, ctx: Any) -> str:
        """Return how to go on after an interrupted command."""
        name = ctx.invoked_subcommand
        if name in CONTINUED:
            return "; the same command goes on"
        command = self.commands.get(name)
        if name == "train" or command is None or all(option.name != "resume" for option in command.params):
            return ""
        if "--resume" in ctx.meta[GIVEN]:
            return f"; go on with: sdkit {shlex.join(ctx.meta[GIVEN])}"
        return "; nothing is kept: with --resume, a command keeps what is done and goes on"


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
    stopping.listen()
    try:
        app()
    except KeyboardInterrupt as error:
        raise SystemExit(stopping.exit_code()) from error
    except SystemExit as error:
        # Before and after a command, the library of the command line takes every interruption for Ctrl-C.
        if error.code == CTRL_C:
            raise SystemExit(stopping.exit_code()) from error
        raise
