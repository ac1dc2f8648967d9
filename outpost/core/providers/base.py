"""What a translator of a provider family does: one pure step from the gateway's tree to a request."""

from dataclasses import dataclass, field
from typing import Protocol

from outpost.core.chat.messages import JsonObject


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One request to a provider, ready to send. Headers are ours only: nothing of the client's headers is forwarded.

    Attributes:
        url: absolute.
        headers: with the provider's key.
        body: serialised tree.
    """

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Translator(Protocol):
    """One provider family."""

    def chat(self, base_url: str, tree: JsonObject, key: str) -> ProviderCall:
        """Build the request of a chat completion.

        Args:
            base_url: of the route, without a slash at the end, version prefix included.
            tree: the inspected request; every field that the client sent stays.
            key: the provider's key, empty when the provider takes none.
        """
        ...
