"""`autoseg dashboard`: shows a run's study in a browser."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from autoseg.cli.options import RunArgument, run_folder
from autoseg.cli.output import print_aside


def dashboard(
    run: RunArgument,
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="the port to listen on; 0 takes a free one")
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="the address to listen on; the default serves this machine only")
    ] = "127.0.0.1",
    open_browser: Annotated[
        bool, typer.Option("--open", help="also open it in the browser")
    ] = False,
) -> int:
    """Show a run, live or finished, in Optuna's dashboard, until Ctrl-C."""
    from autoseg.report.dashboard.server import Dashboard

    logging.getLogger("optuna_dashboard").setLevel(logging.ERROR)
    folder = run_folder(run)
    with Dashboard(folder, host, port) as served:
        print(served.address, flush=True)
        print_aside(f"showing the run {folder.resolve().name}; Ctrl-C stops it")
        if not served.private:
            print_aside("warning: there is no password: all who reach this port can see the run")
        if open_browser:
            import webbrowser

            webbrowser.open(served.address)
        try:
            served.serve_forever()
        except KeyboardInterrupt:
            print_aside("")
    return 0
