"""What the Hub's refusals and broken connections mean, in one sentence each."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from raclap.errors import HubError

OFFLINE = "HF_HUB_OFFLINE is set, so nothing can be sent; unset it and run again"
NO_TOKEN = "no token: log in with 'hf auth login', or set HF_TOKEN"

_MEANINGS = {
    401: "the Hub does not accept the token; log in with 'hf auth login', or set HF_TOKEN to a valid one",
    402: "the account's storage or plan does not allow it",
    403: "the token may not do that",
    404: "there is no such repository, or the token may not see it",
    409: "somebody else has changed the repository in the meantime",
    412: "somebody else has changed the repository in the meantime",
    413: "the Hub takes nothing so large",
    429: "the Hub is asked too often; wait some minutes",
    507: "the account's storage is full",
}
_NOT_CONNECTED = ("ConnectError", "ConnectTimeout")  # of the HTTP library, which is not the same in all versions


@contextmanager
def explained(doing: str, endpoint: str, aftermath: str = "") -> Iterator[None]:
    """Turns what the Hub's client raises into a `HubError` of one sentence.

    Args:
        doing: what the block does, as "creating USER/NAME".
        endpoint: URL of the Hub.
        aftermath: how things stand when it fails, as the end of the sentence.

    Raises:
        HubError: the block raised an error of the client.
    """
    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise HubError(f"{doing}: {meaning(error, endpoint)}{aftermath and f'; {aftermath}'}") from error


def meaning(error: BaseException, endpoint: str) -> str:
    """What an error of the Hub's client says to its user, without lines of advice and request numbers."""
    error = _first_cause(error)
    if isinstance(error, OfflineModeIsEnabled):
        return OFFLINE
    if isinstance(error, LocalTokenNotFoundError):
        return NO_TOKEN
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        said = _one_line(error.server_message or "")
        known = "the Hub failed" if status >= 500 and status not in _MEANINGS else "the Hub refuses it"
        return f"{_MEANINGS.get(status, known)} ({status}{said and f': {said}'})"
    reason = _one_line(str(error)) or type(error).__name__
    if type(error).__name__ in _NOT_CONNECTED:
        return f"{endpoint} cannot be reached ({reason})"
    if isinstance(error, HTTPError):
        return f"the connection to {endpoint} broke off ({reason})"
    return reason


def answered(error: BaseException) -> bool:
    """Whether the Hub itself refused, so that it is certain that nothing was done."""
    error = _first_cause(error)
    return isinstance(error, HfHubHTTPError) and error.response.status_code < 500


def _first_cause(error: BaseException) -> BaseException:
    """The client wraps what breaks off an upload in an error that only names the file."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
