"""
Slack's Block Kit: a message as blocks, and what Slack would not take.

What is made here stays within Slack's limits whatever an event holds; blocks that
somebody else made are judged by `fault`.

Sources: https://docs.slack.dev/reference/block-kit/blocks and
https://docs.slack.dev/messaging/formatting-message-text.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from receiver.messages.message import Fact, Failure, Link, Message, Severity

MAX_BLOCKS = 50
MAX_TEXT = 3000
MAX_HEADER = 150
MAX_FIELD = 2000
MAX_FIELDS = 10
MAX_TOTAL = 12_000
"""
Slack's limits.  A message with more than about 13,000 characters in all is refused,
which only an issue says: https://github.com/slackapi/bolt-js/issues/2509.
"""

_SUMMARY = 1000
_LIST = 2900
_LIST_OF_THREE = 1900
_FIELD = 250
_STEP = 350
_CONTEXT = 1200
_NOTIFICATION = 600
_OWN_TEXT = 10_500
"""With these the texts of one message come to fewer than `MAX_TOTAL` characters."""

_SYMBOLS = {
    Severity.GOOD: "✅",
    Severity.INFO: "🔵",
    Severity.WARNING: "⚠️",
    Severity.BAD: "❌",
}
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

Block = dict[str, Any]


def payload(message: Message) -> dict[str, Any]:
    """The JSON that is posted: blocks, and a text for notifications."""
    title = f"{_SYMBOLS[message.severity]} {message.title}"
    return {
        "text": shortened(f"{title}: {message.summary}", _NOTIFICATION),
        "blocks": [block for block in _blocks(message, title) if block],
    }


def escape(text: str) -> str:
    """Text that Slack shows as it is: no mention, link or command comes of it."""
    return text.translate(_ESCAPES)


def shortened(text: str, limit: int) -> str:
    """`text` escaped, and cut between characters to fit `limit` after it."""
    pieces = [escape(character) for character in text]
    if sum(map(_length, pieces)) <= limit:
        return "".join(pieces)
    room, kept = limit - 1, list[str]()
    for piece in pieces:
        room -= _length(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def sections(mrkdwn: str) -> dict[str, Any]:
    """
    The JSON for a text in Slack's markup, which is escaped where it has to be.

    It is divided between lines where one section cannot hold it, and cut at the end
    where a message cannot.
    """
    text = _cut(mrkdwn.strip(), _OWN_TEXT)
    first = text.partition("\n")[0]
    return {
        "text": _cut(first, _NOTIFICATION),
        "blocks": [_section(part) for part in _parts(text, MAX_TEXT)],
    }


def fault(payload: Any) -> str:
    """Why Slack would refuse a message; empty if nothing is known against it."""
    found = payload.get("blocks") if isinstance(payload, dict) else None
    if not isinstance(found, list) or not found:
        return "there are no blocks"
    if len(found) > MAX_BLOCKS:
        return f"there are {len(found)} blocks, and Slack takes {MAX_BLOCKS}"
    total = 0
    for position, block in enumerate(found, 1):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            return f"block {position} is not an object with a type"
        wrong, length = _judged(block)
        if wrong:
            return f"block {position} ({block['type'][:20]}) {wrong}"
        total += length
    if total > MAX_TOTAL:
        return f"the texts have {total:,} characters, and Slack takes {MAX_TOTAL:,}"
    return ""


def readable(payload: Mapping[str, Any]) -> str:
    """A message for a terminal: the notification, and the text of each block."""
    lines = [f"[text] {payload.get('text', '')}"]
    for block in payload.get("blocks", ()):
        texts = [text for text, _ in _texts(block, 0)]
        lines.append(f"\n[{block.get('type')}]" + "".join(f"\n{t}" for t in texts))
    return "\n".join(lines)


def _judged(block: Block) -> tuple[str, int]:
    """What is wrong with a block, and how long its texts are together."""
    fields = block.get("fields")
    if isinstance(fields, list) and len(fields) > MAX_FIELDS:
        return f"has more than {MAX_FIELDS} fields", 0
    most = MAX_HEADER if block["type"] == "header" else MAX_TEXT
    total = 0
    for text, limit in _texts(block, most):
        length = _length(text)
        if not text.strip():
            return "has an empty text", 0
        if length > limit:
            return f"has a text of {length:,} characters, more than {limit:,}", 0
        total += length
    return "", total


def _texts(value: Any, limit: int, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Every text object's text, and how long it may be."""
    if depth > 10:
        return
    if isinstance(value, list):
        for inner in value:
            yield from _texts(inner, limit, depth + 1)
    elif isinstance(value, dict):
        text = value.get("text")
        if isinstance(text, str) and value.get("type") in ("mrkdwn", "plain_text"):
            yield text, limit
        for name, inner in value.items():
            narrower = MAX_FIELD if name == "fields" else limit
            yield from _texts(inner, narrower, depth + 1)


def _blocks(message: Message, title: str) -> Iterable[Block]:
    header = {"type": "plain_text", "text": shortened(title, MAX_HEADER)}
    yield {"type": "header", "text": {**header, "emoji": False}}
    yield _section(shortened(f"{message.status}. {message.summary}", _SUMMARY))
    room = _LIST_OF_THREE if message.entries else _LIST
    failures = map(_failure_line, message.failures)
    yield _section(_listed("What went wrong", failures, message.more_failures, room))
    for step in message.steps:
        command = shortened(step.value.replace("`", "'"), _STEP - 100)
        yield _section(f"{shortened(step.label, 90)}:\n`{command}`")
    yield _fields((*message.counters, *message.credits)[:MAX_FIELDS])
    entries = map(_entry_line, message.entries)
    yield _section(_listed(message.entries_title, entries, message.more_entries, room))
    until = f", until {message.links_until}" if message.links_until else ""
    links = map(_link_line, message.links)
    yield _section(_listed(f"Results{until}", links, message.more_links, room))
    facts = "  |  ".join(f"{fact.label}: {fact.value}" for fact in message.facts)
    if facts:
        yield {"type": "context", "elements": [_mrkdwn(shortened(facts, _CONTEXT))]}


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text)} if text else {}


def _fields(facts: Sequence[Fact]) -> Block:
    fields = [
        _mrkdwn(f"*{shortened(f.label, 50)}*\n{shortened(f.value, _FIELD - 53)}")
        for f in facts
    ]
    return {"type": "section", "fields": fields} if fields else {}


def _mrkdwn(text: str) -> Block:
    # verbatim: names and mentions in an event's own text are not made into links.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _failure_line(failure: Failure) -> str:
    kind = f" ({failure.kind})" if failure.kind else ""
    note = f" [{failure.note}]" if failure.note else ""
    words = shortened(f"{failure.error}{kind}{note}", 500)
    return f"• *{shortened(failure.item, 100)}*: {words}"


def _entry_line(entry: Fact) -> str:
    return f"• {shortened(entry.label, 160)} ({shortened(entry.value, 60)})"


def _link_line(link: Link) -> str:
    label = shortened(link.label.replace("|", "/"), 100)
    return f"• <{escape(link.url)}|{label}>"


def _listed(title: str, lines: Iterable[str], more: int, room: int) -> str:
    """As many lines as there is room for, and a count of the others."""
    kept = [f"*{title}*"]
    room -= _length(kept[0]) + 40  # the last line needs room as well
    for line in lines:
        room -= _length(line) + 1
        if room < 0:
            more += 1
        else:
            kept.append(line)
    if more:
        kept.append(f"… and {more:,} more")
    return "\n".join(kept) if len(kept) > 1 else ""


def _parts(text: str, limit: int) -> Iterator[str]:
    """Pieces of at most `limit`, of whole lines where lines are short enough."""
    part = ""
    for line in text.split("\n"):
        for piece in _pieces(line, limit):
            if part and _length(part) + 1 + _length(piece) > limit:
                if part.strip():
                    yield part
                part = piece
            else:
                part = f"{part}\n{piece}" if part else piece
    if part.strip():
        yield part


def _pieces(line: str, limit: int) -> Iterator[str]:
    while _length(line) > limit:
        piece = _beginning(line, limit)
        yield piece
        line = line[len(piece) :]
    yield line


def _cut(text: str, limit: int) -> str:
    if _length(text) <= limit:
        return text
    return _beginning(text, limit - 1).rstrip() + "…"


def _beginning(text: str, limit: int) -> str:
    """As much of `text` as fits, not ending within an escape or a link."""
    kept = text.encode("utf-16-le")[: 2 * limit].decode("utf-16-le", "ignore")
    for opening, closing in ("&;", "<>"):
        start = kept.rfind(opening)
        if start > 0 and closing not in kept[start:] and len(kept) - start < limit // 2:
            kept = kept[:start]
    return kept


def _length(text: str) -> int:
    """Counted as JavaScript does, which is never fewer than the characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
