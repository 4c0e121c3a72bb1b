"""The command line, `corecache`: one module for each command or group of commands, and `main`, which runs them.

The rule: whatever goes wrong ends here, as one or two lines on standard error that say what happened and what to do,
and as an exit code (`exits.py`) that a script can act on. A traceback means a defect of CoreCache and nothing else.

The commands import what they need when they run, so that `corecache get` is quick: typer is needed always, the client
by most, the server, RocksDB and Rich's tables only by those that use them.
"""

import sys
import traceback
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from corecache import __version__
from corecache.cli import bench, chaos, cluster, keys, scan, serve, simulate, status, storage
from corecache.cli.exits import BROKEN, BROKEN_PIPE, INTERRUPTED, WRONG_USAGE, complain, drop_output, exit_code_of
from corecache.cli.node import Endpoints
from corecache.cli.octets import ReaderGoneError, flush_out, say
from corecache.errors import CoreCacheError

EPILOG = (
    "Exit codes: 0 done, 1 the answer is no (key not found, condition failed), 2 wrong usage, 3 not done (try again), "
    "4 outcome unknown, 5 broken."
)

app = typer.Typer(
    name="corecache",
    help="A key-value store that keeps its promises: start a node, and talk to it.",
    epilog=EPILOG,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # with Rich a flag is shown as "--json <bool>", as if it took a value
    context_settings={"help_option_names": ["-h", "--help"]},
)
serve.add_to(app)
keys.add_to(app)
scan.add_to(app)
status.add_to(app)
storage.add_to(app)
cluster.add_to(app)
bench.add_to(app)
simulate.add_to(app)
chaos.add_to(app)


def _show_version(asked: bool) -> None:
    if asked:
        say(f"corecache {__version__}")
        raise typer.Exit


@app.callback()
def corecache(
    context: typer.Context,
    endpoint: Endpoints = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keeps the options that stand before the command."""
    context.obj = endpoint
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(WRONG_USAGE)


@app.command(name="version")
def print_version(endpoint: Endpoints = None) -> None:
    """Print the version of this program.

    No node is asked: --endpoint is accepted, as everywhere, and not used.
    """
    say(f"corecache {__version__}")


def main() -> NoReturn:
    """Runs the command line and ends the program with its exit code."""
    sys.exit(_run())


def _run() -> int:
    try:
        returned = app(prog_name="corecache", standalone_mode=False)
        flush_out()
    except TyperException as error:
        complain(_as_sentence(error))
        return WRONG_USAGE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (BrokenPipeError, ReaderGoneError):
        drop_output()
        return BROKEN_PIPE
    except CoreCacheError as error:
        complain(error.message)
        return exit_code_of(error)
    except OSError as error:
        # What could not be written is still in the buffer, and the interpreter would try, and fail, once more.
        drop_output()
        complain(str(error))
        return BROKEN
    except Exception:
        traceback.print_exc()
        return BROKEN
    return returned if isinstance(returned, int) else 0


def _as_sentence(error: TyperException) -> str:
    """Returns what is wrong with the command line, and where to read how it is right."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "corecache"
    return f"{error.format_message()}\nTry: {command} --help"
