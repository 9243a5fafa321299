"""Markup in a text that is to be spoken: SSML, HTML and Markdown are taken out, and the user is told."""

from __future__ import annotations

import html
import re

# SSML 1.1 (W3C, 2010) and its vendors' prefixes; of HTML what stands in texts that people copy.
_PAUSING = {
    "speak", "break", "p", "s", "audio", "h1", "h2", "h3", "h4", "h5", "h6", "br", "hr", "div", "li", "ul", "ol",
    "table", "tr", "td", "th", "title", "blockquote",
}  # fmt: skip
_NAMES = _PAUSING | {
    "emphasis", "say-as", "prosody", "phoneme", "sub", "voice", "lang", "mark", "w", "token", "desc", "lexicon",
    "lookup", "meta", "metadata", "html", "head", "body", "span", "a", "b", "i", "u", "em", "strong", "code", "pre",
    "small", "sup", "font", "img", "script", "style",
}  # fmt: skip
_TAG = re.compile(r"<(/?)((?:[a-z]+:)?[a-z][a-z0-9-]*)((?:\s[^<>]*|/)?)>", re.IGNORECASE)
_REMARK = re.compile(
    r"<!--.{0,4000}?-->|<\?xml[^<>]*>|<!doctype[^<>]*>|<(script|style)\b[^<>]*>.{0,4000}?</\1>",
    re.DOTALL | re.IGNORECASE,
)
_ALIAS = re.compile(r"""<sub\s+alias=["']([^"'<>]*)["']\s*>[^<>]*</sub>""", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8}\d?);", re.IGNORECASE)

# Markdown (CommonMark 0.31, and the tables and tasks of GitHub's), line by line. Stretches are bounded, so that many
# marks without an end cost no square of their number.
_RULE = re.compile(r"^ {0,3}(?:```.*|~~~.*|(?:[-*_=] *){3,}|[|:][ |:-]+)$", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6} +", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]\[\n]{0,300})\]\([^()\s]{1,2000}(?: \"[^\"\n]{0,300}\")?\)")
_INLINE = (
    re.compile(r"(\*\*|__|~~|``)(?=\S)(.{1,500}?)(?<=\S)\1"),
    re.compile(r"(?<![\w*])(\*)(?=[^\s*])([^*\n]{1,500})(?<=\S)\*(?![\w*])"),
    re.compile(r"(?<!\w)(_)(?=[^\s_])([^_\n]{1,500})(?<=\S)_(?!\w)"),
    re.compile(r"(`)([^`\n]{1,500})`"),
)
_BULLET = re.compile(r"^ *(?:>[> ]*(?:[*+-] +)?|[*+•‣◦▪·–—-] +(?:\[[ xX]\] +)?)", re.MULTILINE)
_NUMBER = re.compile(r"^ *(\d{1,2})[.)] +(?=\S)", re.MULTILINE)
_ROW = re.compile(r"^ *\|(.*?)\|? *$", re.MULTILINE)


def without_markup(text: str) -> tuple[str, tuple[str, ...]]:
    """Returns the text that is left, and what the user is to know of the rest. `<break>` and blocks end a sentence;
    a list keeps its numbers."""
    text, tags = _without_tags(text)
    notes = [f"tags are not spoken: {', '.join(list(tags)[:10])}"] if tags else []
    text, is_markdown = _without_markdown(text)
    if is_markdown:
        notes.append("Markdown's marks are not spoken")
    return text, tuple(notes)


def _without_tags(text: str) -> tuple[str, dict[str, None]]:
    tags: dict[str, None] = {}

    def removed(match: re.Match[str]) -> str:
        name = match.group(2).lower()
        local = name.rpartition(":")[2]
        if ":" not in name and local not in _NAMES:
            return match.group()
        tags[name] = None
        return "\n\n" if local in _PAUSING else " " if match.group(3).endswith("/") else ""

    if "<" in text:
        text = _ALIAS.sub(lambda match: f"{match.group(1)}<sub>", text)
        text = _TAG.sub(removed, _REMARK.sub(" ", text))
    return _ENTITY.sub(lambda match: html.unescape(match.group()), text), tags


def _without_markdown(text: str) -> tuple[str, bool]:
    plain = _LINK.sub(r"\1", _HEADING.sub("\n", _RULE.sub("", text)))
    for pattern in _INLINE:
        plain = pattern.sub(r"\2", plain)
    is_markdown = plain != text
    plain = _BULLET.sub("\n", plain)
    plain = _ROW.sub(_cells, plain)
    return _NUMBER.sub(r"\n\1, ", plain), is_markdown


def _cells(row: re.Match[str]) -> str:
    return "\n" + ", ".join(filter(None, (cell.strip() for cell in row.group(1).split("|"))))
