"""The parts of a condition, so that it can be said which of them is false (pure)."""

_QUOTES = ("'''", '"""', "'", '"')
_OPENING, _CLOSING = "([{", ")]}"


def operands(text: str) -> list[str]:
    """
    What a CEL expression joins at its top with `||`, or else with `&&`.

    One that joins nothing there, or chooses with `? :`, is its own only part.
    """
    found = _split(text)
    return found if len(found) > 1 else [text.strip()]


def _split(text: str) -> list[str]:
    """`||` binds less than `&&`, so where both are it is the one at the top."""
    places: dict[str, list[int]] = {"||": [], "&&": []}
    depth, i = 0, 0
    while i < len(text):
        quote = _quote_at(text, i)
        if quote:
            i = _end_of_literal(text, i, quote)
            continue
        c = text[i]
        depth += (c in _OPENING) - (c in _CLOSING)
        if depth == 0 and c == "?" and text[max(i - 1, 0)] != ".":
            return [text]
        if depth == 0 and text[i : i + 2] in places:
            places[text[i : i + 2]].append(i)
            i += 1
        i += 1
    at = places["||"] or places["&&"]
    starts, ends = [0, *(i + 2 for i in at)], [*at, len(text)]
    return [text[a:b].strip() for a, b in zip(starts, ends, strict=True)]


def _quote_at(text: str, i: int) -> str:
    return next((quote for quote in _QUOTES if text.startswith(quote, i)), "")


def _end_of_literal(text: str, i: int, quote: str) -> int:
    raw = i > 0 and text[i - 1] in "rR"
    i += len(quote)
    while i < len(text) and not text.startswith(quote, i):
        i += 2 if text[i] == "\\" and not raw else 1
    return i + len(quote)
