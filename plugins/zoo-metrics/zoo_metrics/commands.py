"""`zoo metrics`: what Prometheus scrapes."""

from __future__ import annotations

from typing import Annotated

import typer

import zoo


@zoo.hookimpl
def register_commands(app: typer.Typer) -> None:
    """Add `zoo metrics`."""
    app.command(rich_help_panel="Machinery")(metrics)


def metrics(
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port; 0: any free port.")
    ] = 9464,
    address: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address to listen on; no password, no TLS."),
    ] = "127.0.0.1",
    results: Annotated[
        bool,
        typer.Option("--results", help="Also the best result of each model."),
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Print the metrics and exit.")] = False,
) -> None:
    """Serve Prometheus metrics of queue and workers."""
    import signal
    import sys
    import threading

    from prometheus_client import generate_latest

    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo_metrics import exporter

    chosen = settings.load()
    collector = exporter.QueueCollector(jobs.connect(chosen.database), with_results=results)
    if once:
        sys.stdout.write(generate_latest(exporter.registry(collector)).decode())
        return
    url = exporter.serve(collector, address, port)
    console.note(f"Serving metrics of {collector.db.name} at {url}")
    ended = threading.Event()
    # PID 1 of a container ignores SIGTERM unless it has a handler.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: ended.set())
    ended.wait()
    collector.db.close()
