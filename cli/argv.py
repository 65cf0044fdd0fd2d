"""`TOPIC:COMMAND` and `TOPIC COMMAND` are the same: the colon goes before the parser sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

#: Options that may stand before the command and take the next word as their value.
VALUE_OPTIONS = frozenset({"--url", "--token-file"})


def split_topics(argv: Sequence[str], topics: Collection[str]) -> list[str]:
    """Rewrite the command word `topic:command` into two words, and `help X` into `X --help`."""
    words = list(argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    position = 0
    while position < len(words):
        word = words[position]
        if word in VALUE_OPTIONS:
            position += 2
            continue
        if word.startswith("-"):
            position += 1
            continue
        topic, colon, command = word.partition(":")
        if colon and command and topic in topics:
            words[position : position + 1] = [topic, command]
        break
    return words
