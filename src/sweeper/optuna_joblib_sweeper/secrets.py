"""Passwords in URIs: masked wherever a URI is shown or kept. Opens nothing."""

import re

_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]*@(?=[^/\s])")
_QUERY = re.compile(r"(?i)([?&;][\w-]*(?:password|passwd|pwd|token|secret|key)[\w-]*=)[^&;\s'\"]*")


def masked(text: str) -> str:
    """`text` with `***` in place of every password in it.

    >>> masked("postgresql://me:secret@host/studies")
    'postgresql://me:***@host/studies'
    >>> masked("mysql://host/studies?user=me&password=secret")
    'mysql://host/studies?user=me&password=***'
    """
    return _QUERY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))
