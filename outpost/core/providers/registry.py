"""Which translator speaks to which kind of provider."""

from collections.abc import Mapping
from types import MappingProxyType

from outpost.core.errors import BundleError
from outpost.core.providers.base import Translator
from outpost.core.providers.openai import OpenAITranslator

TRANSLATORS: Mapping[str, Translator] = MappingProxyType({"openai": OpenAITranslator()})


class ProviderKindError(BundleError):
    """A route names a kind of provider that this build does not speak."""

    code = "bundle.provider_kind"


def translator_for(kind: str) -> Translator:
    """Find the translator.

    Raises:
        ProviderKindError: unknown kind.
    """
    translator = TRANSLATORS.get(kind)
    if translator is None:
        raise ProviderKindError(
            f"no translator for providers of kind {kind}",
            field="policy/routes.json",
            next_step=f"use one of: {', '.join(sorted(TRANSLATORS))}",
        )
    return translator
