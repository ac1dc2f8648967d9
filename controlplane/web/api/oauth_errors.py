"""Errors of the token endpoint, in the words that OAuth clients know."""

from controlplane.domain.errors import ControlPlaneError, InputError
from controlplane.domain.rbac import UnauthenticatedError
from controlplane.web.api.calls import Answer

UNCACHED = {"Cache-Control": "no-store"}  # RFC 6749 §5.1


class OAuthError(InputError):
    """A token request that RFC 6749 has a word for.

    Args:
        word: ``error`` of RFC 6749 §5.2.
    """

    code = "oauth.request"

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message, field=word)
        self.word = word


def oauth_answer(error: ControlPlaneError) -> Answer:
    """An error of the token endpoint. Source: RFC 6749 §5.2."""
    if isinstance(error, UnauthenticatedError):
        document = {"error": "invalid_client", "error_description": error.message}
        return Answer(401, document, {**UNCACHED, "WWW-Authenticate": 'Basic realm="controlplane"'})
    word = error.word if isinstance(error, OAuthError) else "invalid_request"
    return Answer(400, {"error": word, "error_description": error.message}, UNCACHED)
