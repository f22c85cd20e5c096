"""The package's one exception base and its kinds."""


class ForesightError(Exception):
    """Something a user can act on.

    The text is one line: what was wrong and what to do. The command line prints it and exits
    with `exit_code`; a node logs it.
    """

    exit_code = 1


class InputError(ForesightError):
    """An input (video, folder, bag, image) that is missing, unreadable or does not fit."""


class BundleError(ForesightError):
    """A bundle that is missing, damaged, or whose parts do not fit one another."""


class UsageError(ForesightError):
    """An argument that makes no sense; the command line exits with 2."""

    exit_code = 2


def describe(error: BaseException) -> str:
    """What an error says, in one line; with its kind where it is none of this package's."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ForesightError) else f"{type(error).__name__}: {text}"
