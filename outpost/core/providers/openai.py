"""OpenAI's chat completions, and everybody who speaks them."""

import orjson

from outpost.core.chat.messages import JsonObject
from outpost.core.providers.base import ProviderCall

USER_AGENT = "outpost"


class OpenAITranslator:
    """The tree is already in this shape: it is serialised as it stands."""

    def chat(self, base_url: str, tree: JsonObject, key: str) -> ProviderCall:
        """Build the request.

        Source: OpenAI API reference, "Create chat completion".
        """
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if tree.get("stream") is True else "application/json",
            "Accept-Encoding": "identity",  # a compressed answer could not be bounded before it is unpacked
            "User-Agent": USER_AGENT,
        }
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return ProviderCall(f"{base_url}/chat/completions", headers, orjson.dumps(tree))
