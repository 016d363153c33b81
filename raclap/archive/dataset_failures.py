"""What goes wrong with a data set, in one sentence of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from raclap.archive.facts import ArchiveError
from raclap.corpora.hub_dataset import failures, first_line

OFFLINE = "cannot be reached; is this machine offline, or HF_HUB_OFFLINE set?"
_EMPTY = "holds no files that the library datasets can read"
_NOT_FOUND = 404
_NOT_CONNECTED = ("ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "OfflineModeIsEnabled")


def is_unreachable(error: BaseException | None) -> bool:
    """Whether it is the way to the Hub that fails, or the Hub, and not what is there."""
    status = getattr(getattr(error, "response", None), "status_code", _NOT_FOUND)
    is_broken = isinstance(error, ConnectionError | TimeoutError) or type(error).__name__ in _NOT_CONNECTED
    return is_broken or status != _NOT_FOUND


@contextmanager
def explained(source: str, name: str, revision: str | None, config: str | None) -> Iterator[None]:
    """Turns what opening a data set raises into an `ArchiveError`.

    Args:
        source: as it was given.
        name: on the Hub, or the folder.
        revision, config: that were asked for.

    Raises:
        ArchiveError: the block raised something else.
    """
    try:
        yield
    except ArchiveError:
        raise
    except failures() as error:
        raise ArchiveError(f"{source}: {_meaning(error, name, revision, config)}") from error


def _meaning(error: Exception, name: str, revision: str | None, config: str | None) -> str:
    said = first_line(error)
    if said.startswith(("BuilderConfig", "Config name is missing")):
        missing = f"has no configuration '{config}'" if config else "has several configurations; --config names one"
        return f"{missing}; there are {_configurations(name, revision)}"
    known = {
        "gated dataset": f"is gated; accept its conditions on https://huggingface.co/datasets/{name}, and log in "
        f"(hf auth login)",
        "Revision ": f"has no revision '{revision}'",
        "doesn't exist on the Hub": "there is no such data set on the Hub, or it is private and you are not logged in "
        "(hf auth login)",
        "scripts are no longer supported": "is made by a program, which is not run; of many the Hub keeps Parquet: "
        "--revision refs/convert/parquet",
        "No (supported) data files": _EMPTY,
        "doesn't contain any data files": _EMPTY,
    }
    meant = next((meaning for sign, meaning in known.items() if sign in said), None)
    return meant or (OFFLINE if is_unreachable(error) else f"cannot be loaded as a data set ({said})")


def _configurations(name: str, revision: str | None) -> str:
    import datasets

    try:
        return ", ".join(datasets.get_dataset_config_names(name, revision=revision))
    except failures():
        return "others"
