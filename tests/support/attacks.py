"""Strings as a file name, a table or a server could hold them, that must not reach people as they are."""

# name → text with characters that show nothing, or move what is shown
HIDDEN = {
    "terminal title": "v\x1b]0;owned\x07",
    "colour": "v\x1b[31mred",
    "eight-bit control": "v\x9b2J",
    "nul": "v\x00w",
    "backspace": "safe\x08\x08\x08\x08evil",
    "delete": "v\x7f",
    "line break": "v\n  remedy: run something else",
    "carriage return": "v\rerror: gone",
    "next line": "v\x85w",
    "line separator": "v\u2028w",
    "paragraph separator": "v\u2029w",
    "bidi override": "v\u202egpj.tif",
    "bidi embedding": "v\u202a\u202bw\u202c",
    "bidi isolate": "v\u2066w\u2069",
    "bidi mark": "v\u200ew\u200f",
    "arabic letter mark": "v\u061cw",
    "zero-width space": "v\u200bw",
    "zero-width joiner": "v\u200dw",
    "byte order mark": "v\ufeffw",
    "soft hyphen": "v\u00adw",
    "invisible letter": "v\u3164w",
    "variation selector": "v\ufe0fw",
    "tag characters": "v\U000e0041w",
    "lone surrogate": "v\udcffw",
}

# name → a cell that a spreadsheet would compute
FORMULAS = {
    "sum": "=1+1",
    "plus": "+1+1",
    "minus": "-1+1",
    "function": "@SUM(A1)",
    "link": '=HYPERLINK("http://127.0.0.1","x")',
    "command": "=cmd|' /C calc'!A0",
    "after blanks": "  =1+1",
    "after a tab": "\t=1+1",
    "after a carriage return": "\r=1+1",
    "after a quote": '"=1+1',
    "after an apostrophe": "'=1+1",
    "after a hidden character": "\u200b=1+1",
    "full width": "\uff1d1+1",
    "full-width at": "\uff20SUM(A1)",
    "small equals": "\ufe661+1",
    "behind a semicolon": "mouse;=1+1",
}

# what a terminal library, a web page or Markdown would take for its own
MARKUP = {
    "rich": "[bold red]v[/bold red]",
    "rich link": "[link=http://127.0.0.1]v[/link]",
    "rich, unbalanced": "v[/red]",
    "backslash": "v\\",
    "emoji": "v :bomb: w",
    "script": "<script>alert(1)</script>",
}

NOT_SHOWN_AS_IT_IS = set("".join(HIDDEN.values())) - set("".join(map(chr, range(0x20, 0x7F))))


def shows_all(text: str, *, lines: bool = True) -> bool:
    """Whether `text` holds none of the hidden characters; `lines`: it may have line breaks of its own."""
    return not (set(text) & (NOT_SHOWN_AS_IT_IS - ({"\n"} if lines else set())))
