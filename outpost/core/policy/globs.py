"""Model globs: ``*`` stands for any text, everything else for itself; matched in time linear in the text."""

# The model's name is the one feature that a client writes freely, up to the size of a body. No provider has a name
# half as long; what is longer is compared by its beginning, so that 500 rules stay cheap.
MAX_MODEL_CHARS = 1024


def model_key(model: str) -> str:
    """Return a model's name as globs are compared with it: in lower case, bounded."""
    return model[:MAX_MODEL_CHARS].lower()


def glob_matches(glob: str, text: str) -> bool:
    """Tell whether a whole text matches a glob; both in lower case already.

    Pieces between stars are searched from left to right, so a hostile text of a megabyte costs one pass per piece,
    where a translated regular expression would backtrack.
    """
    first, *rest = glob.split("*")
    if not rest:
        return glob == text
    last = rest.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in rest:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
