r"""Text of others on a terminal or a page: characters that command it, or hide what is there, are shown as escapes.

A terminal obeys control characters: a text may set its title, write to the clipboard, overwrite earlier lines or hide
what comes after it. Marks of writing direction reorder what a person reads, in a browser too. So what is printed goes
through `visible` where it is printed: the text of a `UserError`, the log, the consoles of the command line, and pages.
Files of records hold the texts unchanged.

>>> print(visible("a\x1b]0;title\x07b\u202ec"))
a\x1b]0;title\x07b\u202ec
"""

import re

_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, delete, C1
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e"  # soft hyphen, signs of format
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # widthless, directions, line ends, byte order
    "\ud800-\udfff"  # halves of surrogate pairs, which cannot be encoded
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f"  # tags, which hide whole sentences
    "]"
)


def visible(text: str, *, one_line: bool = False) -> str:
    """The text with control and format characters as Python writes them in a literal.

    Line feeds and tabs stay, and so do the two joiners (U+200C, U+200D) that some scripts and emoji need.

    Args:
        one_line: Show line feeds and tabs too: for a name, which must not look like lines of our own.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)
    return text.replace("\n", "\\n").replace("\t", "\\t") if one_line else text
