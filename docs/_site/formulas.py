"""TeX in pages becomes MathML, which browsers show without a script."""

from __future__ import annotations

import re
from html import unescape

from latex2mathml.converter import convert

# Written by pymdownx.arithmatex.
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_page_content(html: str, **_: object) -> str:
    html = INLINE.sub(lambda found: convert(unescape(found[1])), html)
    return DISPLAY.sub(lambda found: convert(unescape(found[1]), display="block"), html)
