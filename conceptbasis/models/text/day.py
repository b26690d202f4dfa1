"""Gives a chat template that asks for the date the same day always.

With the clock's own, a prompt of another day is another prompt: in a run that is continued, and in
one that is repeated.
"""

from __future__ import annotations

from datetime import datetime

TODAY = datetime(2025, 1, 1)
"""The day that templates are told."""
_CODES = "aAbBcdfHIjmMpSUwWxXyYzZ"
_NAME = "strftime_now"


def undated(template: str) -> str:
    """The template, with a macro before it in place of the function that reads the clock.

    A callable cannot be passed to a template, so the macro fills in each code of a format itself.

    Args:
        template: A chat template; one that does not ask for the date stays as it is.
    """
    if _NAME not in template:
        return template
    filled = "".join(
        f"|replace('%-{code}', '{TODAY.strftime('%' + code).lstrip('0') or '0'}')"
        f"|replace('%{code}', '{TODAY.strftime('%' + code)}')"
        for code in _CODES
    )
    # It ends in an expression, since a newline behind a block is dropped.
    macro = f"{{% macro {_NAME}(format) %}}{{{{ format{filled} }}}}{{% endmacro %}}"
    return macro + "{{ '' }}" + template
