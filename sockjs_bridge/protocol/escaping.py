r"""Characters that a SockJS client escapes, `escapable_by_client` of sockjs-protocol 0.3.3 (protocol section 4).

Browsers and servers of the past mangled these on the wire; written as `\uXXXX` they arrive everywhere.
"""

import re

# What JSON itself asks for (quote, backslash, below U+0020) is not listed: the encoder has done it.
_RANGES = """
007F-009F 00AD 0300-0333 033D-0346 034A-034C 0350-0352 0357-0358 035C-0362 0374 037E 0387 0591-05AF 05C4
0600-0604 0610-0617 0653-0654 0657-065B 065D-065E 06DF-06E2 06EB-06EC 070F 0730 0732-0733 0735-0736 073A 073D
073F-0741 0743 0745 0747 07EB-07F1 0951 0958-095F 09DC-09DD 09DF 0A33 0A36 0A59-0A5B 0A5E 0B5C-0B5D 0E38-0E39
0F43 0F4D 0F52 0F57 0F5C 0F69 0F72-0F76 0F78 0F80-0F83 0F93 0F9D 0FA2 0FA7 0FAC 0FB9 17B4-17B5 1939-193A 1A17
1B6B 1CDA-1CDB 1DC0-1DCF 1DFC 1DFE 1F71 1F73 1F75 1F77 1F79 1F7B 1F7D 1FBB 1FBE 1FC9 1FCB 1FD3 1FDB 1FE3 1FEB
1FEE-1FEF 1FF9 1FFB 1FFD 2000-20FF 2126 212A-212B 2329-232A 2ADC 302B-302C AAB2-AAB3 D800-DFFF F900-FA0D FA10
FA12 FA15-FA1E FA20 FA22 FA25-FA26 FA2A-FA2D FA30-FA6D FA70-FAD9 FB1D FB1F FB2A-FB36 FB38-FB3C FB3E FB40-FB41
FB43-FB44 FB46-FB4E FEFF FFF0-FFFF
"""
_ESCAPABLE = re.compile("[" + re.sub(r"([0-9A-F]{4})\s*", r"\\u\1", _RANGES.strip()) + "]")


def escape_json(literal: bytes) -> bytes:
    """Escape JSON text so that it passes every server. Characters outside strings are never touched.

    `literal` is UTF-8. ASCII text, nearly everything in practice, costs two scans in C and no copy.
    """
    if literal.isascii() and b"\x7f" not in literal:
        return literal
    return _ESCAPABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", literal.decode()).encode()
