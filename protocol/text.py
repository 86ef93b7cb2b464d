"""Text that somebody else has written, as it may be shown."""

import re

# Of a terminal (C0, C1), of lines (U+2028, U+2029) and of the direction of writing.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
COMMAND = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # C0 and C1 but for tabs and the ends of lines


def one_line(text: str) -> str:
    """`text` with a space for each control character: it can neither move the cursor nor pass for another line."""
    return CONTROL.sub(" ", text)
