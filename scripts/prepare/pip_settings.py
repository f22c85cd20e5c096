"""The user's pip settings in uv's words: uv does not read pip's configuration."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path


def configuration_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the places of pip's configuration, weakest first, as pip's manual orders them."""
    home = Path(environ.get("HOME", "/"))
    folders = [Path(part) for part in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if part]
    files = [folder / "pip" / "pip.conf" for folder in folders]
    files.append(Path("/etc/pip.conf"))
    files.append(home / ".pip" / "pip.conf")
    files.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf")
    files.append(Path(sys.prefix) / "pip.conf")
    if environ.get("PIP_CONFIG_FILE"):
        files.append(Path(environ["PIP_CONFIG_FILE"]))
    return files


def read_pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings, such as {"index-url": ...}: files first, PIP_* variables above."""
    settings: dict[str, str] = {}
    for path in configuration_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update({key.replace("_", "-"): v for key, v in parser.items(section)})
    for key, value in environ.items():
        if key.startswith("PIP_") and value:
            settings[key[4:].lower().replace("_", "-")] = value
    return settings


def translate(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that make uv do what pip's settings say."""
    variables = {
        "UV_DEFAULT_INDEX": settings.get("index-url", ""),
        "UV_INDEX": " ".join(settings.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(settings.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(settings.get("trusted-host", "").split()),
        "UV_HTTP_TIMEOUT": settings.get("timeout", settings.get("default-timeout", "")),
        "SSL_CERT_FILE": settings.get("cert", ""),
        "SSL_CLIENT_CERT": settings.get("client-cert", ""),
        "ALL_PROXY": settings.get("proxy", ""),
    }
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        variables["UV_NO_INDEX"] = "1"
    if variables["UV_INDEX"]:
        # pip takes the best version of all indexes, uv the first index that knows the name.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in variables.items() if value}


def uv_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment to run uv in; what the user set for uv itself goes first."""
    return {**translate(read_pip_settings(environ)), **environ}
