"""`serve`: a local page that asks both models of a finished run, edit off and on."""

from __future__ import annotations

import argparse

from conceptbasis.cli.command import Command, add_folder, check_device, open_reporter, silence

_TEACHES = """\
The page asks the donor and the target a request of your own, untouched and edited, and shows the
answers side by side as they are written. A slider sets the strength of the edit: 1 is the run's, 0
none, below 0 the opposite. Under each token stand the latents of the recipe that fire at it.

  conceptbasis serve runs/demo               prints an address; open it in a browser of this machine
  conceptbasis serve runs/demo --port 8765   the same port each time, as for a tunnel (below)

Only this machine is answered (127.0.0.1), and only with the token of the printed address. From
another machine: ssh -L 8765:127.0.0.1:8765 HOST, then open the address here. Models are opened
when they are first asked. Nothing that is asked or answered is kept. Ctrl-C ends it.
"""


def _add(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument(
        "--port", type=int, default=0, help="where to listen (default: any free port)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: that of the run)")
    parser.epilog = _TEACHES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.serve.opening import ServedRun
    from conceptbasis.serve.server import Server, serve_until_stopped

    silence()
    if options.device:
        check_device(options.device)
    run = ServedRun(options.folder, options.device, open_reporter(options))
    server = Server(run, options.port)

    def announce() -> None:
        print(server.url, flush=True)
        run.reporter.say("open this address in a browser of this machine; Ctrl-C ends it")

    serve_until_stopped(server, announce)


SERVE = Command(_add, _run)
