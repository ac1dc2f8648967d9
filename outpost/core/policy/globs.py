"""Model globs: ``*`` stands for any text, everything else for itself; matched in time linear in the text."""


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
