"""Subcommands of `foresight`, one module each, in the order that --help lists them."""

COMMANDS: tuple[str, ...] = (
    "demo",
    "fetch",
    "bundle",
    "convert",
    "export",
    "bag",
    "replay",
    "view",
    "bench",
    "train",
    "evaluate",
    "compare",
    "instants",
    "drive",
)
