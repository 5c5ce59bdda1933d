"""Messages that go wrong wherever a program on the way escapes, splits, decodes or joins without care."""

from collections.abc import Iterator


def every_character_but_surrogates() -> Iterator[str]:
    """Texts that together hold the whole Basic Multilingual Plane, and a sample of each plane above it.

    So all that sockjs-protocol wants escaped is among them, by the client and by the server: every control
    character, the combining marks, U+2000-20FF, U+FFF0-FFFF.
    """
    for start in range(0, 0x10000, 128):
        if not 0xD800 <= start <= 0xDFFF:
            yield "".join(map(chr, range(start, start + 128)))
    for plane in range(1, 17):
        base = plane << 16
        yield "".join(map(chr, (base, base + 0x41, base + 0xF600, base + 0xFFFE, base + 0xFFFF)))


HOSTILE = [
    *every_character_but_surrogates(),
    *map(chr, range(0x20)),
    '"',
    "\\",
    '\\"',
    '\\\\"\\',
    "\\u0041 \\ud83d \\n is no escape",
    "a\nb\rc\r\nd\u2028e\u2029f\x85g",
    "\N{GRINNING FACE}\N{MUSICAL SYMBOL G CLEF} pairs in UTF-16",
    "a\u0301\u0327 combined",
    "\ufeffa mark at the start",
    " leading and trailing ",
    "\t",
    "o",
    "h",
    "hhh",
    'a["not a frame"]',
    'c[3000,"Go away!"]',
    'm"no"',
    "[]",
    '["x"]',
    "null",
    "{}",
    '{"key": "value", "list": [1, 2.0, 1e400, "\\u0000"]}',
    "</script><script>",
    "%25 %0A % %%",
    # What encodes and what does not encode the sign leave these apart: alone in a message, and at its ends.
    "100%",
    "%25",
    "%0A",
    "%zz",
    "%",
    "%2525",
    "%u0041",
    "+ and %20 in a form: a=b&d=c;e",
    "<![CDATA[ ]]>",
]

LONE_SURROGATES = (r'"\ud800"', r'"x\udfffy"', r'"\ude00\ud83d"')
"""As JSON literals, and in lower case: so they can be compared with what comes back."""

REPLACED_SURROGATES = ("\ufffd", "x\ufffdy", "\ufffd\ufffd")
"""What is left of them where only UTF-8 can be sent."""

MEGABYTE = ('"\\\u2028%' + "0123456789abcdef" * 62500)[:1_000_000]
"""As large as fits into one request: sockjs for aiohttp refuses a body over 1 MiB, and a form makes it longer."""
