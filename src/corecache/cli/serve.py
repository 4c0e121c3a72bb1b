"""`corecache serve`: runs one node in the foreground, until SIGTERM or SIGINT.

Options override environment variables, and these the configuration file; `settings.py` merges them, `config/` judges
them, `assembly.py` runs the node. What is read here is only the command line.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from corecache.cli.exits import WRONG_USAGE, complain


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


def serve(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The configuration file.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", help="The HTTP port; else the first free one from 8000.", show_default=False),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="The address to listen on, for clients and other nodes; else 127.0.0.1.",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the data is kept; else corecache-data.", show_default=False)
    ] = None,
    cluster: Annotated[str | None, typer.Option(metavar="NAME", help="The cluster's name.", show_default=False)] = None,
    node_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The node's name; else drawn at the first start.", show_default=False),
    ] = None,
    zookeeper: Annotated[
        str | None,
        typer.Option(
            metavar="H:P[,H:P…][/PATH]",
            help="The ZooKeeper servers of a cluster; else the node is a cluster of one.",
            show_default=False,
        ),
    ] = None,
    resp_port: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The port for Redis's protocol; else the first free one from 6379.", show_default=False
        ),
    ] = None,
    peer_port: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The port for other nodes; else the first free one from 7400.", show_default=False
        ),
    ] = None,
    advertise_host: Annotated[
        str | None,
        typer.Option(metavar="H", help="Where others reach this node; else where it listens.", show_default=False),
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its rack or building: copies are spread.", show_default=False)
    ] = None,
) -> int:
    """Run a node in the foreground.

    SIGTERM or Ctrl-C lets it finish what is under way and stop.
    Every option is a setting of the configuration file, which has many more.
    CORECACHE_SECTION__NAME variables override the file, options override both.
    """
    from corecache.config import ConfigError
    from corecache.settings import load

    given: dict[str, dict[str, object]] = {
        "http": {"port": port, "host": host},
        "node": {"data_dir": data_dir, "id": node_id, "advertise_host": advertise_host, "zone": zone},
        "cluster": {"name": cluster},
        "coordination": {"zookeeper": zookeeper},
        "resp": {"port": resp_port, "host": host},
        "link": {"port": peer_port, "host": host},
    }
    overrides = {
        section: {name: value for name, value in settings.items() if value is not None}
        for section, settings in given.items()
    }
    try:
        settings = load(config, overrides, os.environ)
    except ConfigError as error:
        complain(str(error))
        return WRONG_USAGE

    from corecache import assembly

    return assembly.serve(settings)
