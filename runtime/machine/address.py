"""An address that never shows its secret: not printed, not in JSON, not in a copy that is kept."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, unquote

HIDDEN = "***"
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+")
_INNER = re.compile(r"(?:pwd|password)=([^;]+)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)\}")
# Of a database's address; every other value of a query is hidden.
_HARMLESS = {"cache", "charset", "connect_timeout", "host", "mode", "port", "sslmode", "timeout", "uri"}
_SHORTEST = 4  # characters of a secret that is looked for in other texts: a shorter one is part of every word


class Address(str):
    """An address as text in which `***` stands for passwords, tokens and the values of a query.

    Whatever prints, formats, serialises or copies it has that text alone; `revealed` gives the real one, to the client
    that connects. `expression`: the configuration's, such as `${oc.env:NAME}`, where the address came from one.
    """

    expression: str
    _real: str

    def __new__(cls, text: str, expression: str = "") -> Address:
        real = text.revealed() if isinstance(text, Address) else text
        address = super().__new__(cls, _Parts.of(real).shown())
        address._real = real
        address.expression = expression or getattr(text, "expression", "")
        return address

    @classmethod
    def of(cls, text: str) -> Address:
        """An address as a person writes it, variables of the environment as the configuration has them.

        Raises ValueError for a variable that is not set.
        """
        missing = [name for name in _VARIABLE.findall(text) if name not in os.environ]
        if missing:
            raise ValueError(f"{cls(text)}: the environment has no {', '.join(missing)}")
        real = _VARIABLE.sub(lambda match: os.environ[match[1]], text)
        return cls(real, expression=text if real != text else "")

    def revealed(self) -> str:
        """The address with its secret."""
        return self._real

    @property
    def has_secret(self) -> bool:
        return str(self) != self._real

    @property
    def is_incomplete(self) -> bool:
        """Whether it was made of a text whose secret is hidden already."""
        return HIDDEN in self._real

    @property
    def place(self) -> str:
        """Where it leads, without user and secret: the same for everybody who may go there."""
        parts = _Parts.of(self._real)
        return f"{parts.scheme}{parts.place}".rstrip("/") if parts.is_web else f"{parts.scheme}{parts.place}"

    @property
    def problem(self) -> str:
        """Why no client would read it as it is meant, empty where they would."""
        wrong = sorted(set("/?#@") & set(_Parts.of(self._real).userinfo))
        if not wrong:
            return ""
        signs = ", ".join(f"{sign} as {quote(sign, safe='')}" for sign in wrong)
        return f"user and password in an address are percent-encoded: write {signs}"

    def scrubbed(self, text: str) -> str:
        """A text, such as a client's error, without the secret of this address, and of any other in it."""
        for secret in sorted(_Parts.of(self._real).secrets(), key=len, reverse=True):
            if len(secret) >= _SHORTEST:
                text = text.replace(secret, HIDDEN)
        return scrubbed(text)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # a copy that is kept or sent is the text


def scrubbed(text: str) -> str:
    """A text in which every address shows no secret."""
    return _ADDRESS.sub(lambda match: str(Address(match[0])), text)


@dataclass(frozen=True)
class _Parts:
    """`scheme` with its `://`; `fragment` and `query` without their signs."""

    scheme: str
    userinfo: str
    place: str
    query: str
    fragment: str

    @classmethod
    def of(cls, text: str) -> _Parts:
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "", text
        userinfo = ""
        if _has_userinfo(rest, is_address=bool(separator)):
            userinfo, _, rest = rest.rpartition("@")
        rest, _, fragment = rest.partition("#")
        place, _, query = rest.partition("?")
        return cls(f"{scheme}{separator}", userinfo, place, query, fragment)

    @property
    def is_web(self) -> bool:
        return self.scheme.lower() in ("http://", "https://")

    def shown(self) -> str:
        user, colon, _ = self.userinfo.partition(":")
        userinfo = f"{user}:{HIDDEN}@" if colon else f"{user}@" if user else ""
        if user and not colon and self.is_web:  # a token
            userinfo = f"{HIDDEN}@"
        query = "&".join(self._shown_pair(pair) for pair in self.query.split("&")) if self.query else ""
        fragment = f"#{HIDDEN}" if self.fragment else ""
        return f"{self.scheme}{userinfo}{self.place}{'?' if query else ''}{query}{fragment}"

    def _shown_pair(self, pair: str) -> str:
        name, sign, _ = pair.partition("=")
        if not self._is_hidden(name):
            return pair
        return f"{name}={HIDDEN}" if sign else HIDDEN

    def _is_hidden(self, name: str) -> bool:
        return self.is_web or name.lower() not in _HARMLESS

    def secrets(self) -> set[str]:
        """Returns the secrets, in every form in which a client may say them again."""
        user, colon, password = self.userinfo.partition(":")
        secrets = {password} if colon else {user} if self.is_web else set()
        pairs = [pair.partition("=") for pair in self.query.split("&")]
        secrets |= {value or name for name, _, value in pairs if self._is_hidden(name)} | {self.fragment}
        secrets |= {inner for secret in secrets for inner in _INNER.findall(unquote(secret))}  # of ODBC
        secrets.discard(HIDDEN)
        forms: list[Callable[[str], str]] = [str, unquote, quote, partial(quote, safe="")]
        secrets = {form(secret) for secret in secrets for form in forms}
        if colon and password != HIDDEN:
            secrets.add(base64.b64encode(unquote(self.userinfo).encode()).decode())  # as a header says it
        return secrets - {""}


def _has_userinfo(rest: str, is_address: bool) -> bool:
    """Returns whether a user stands before the last @, a password with signs that should be encoded included."""
    if "@" not in rest or rest.startswith("/"):
        return False
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    _, colon, port = netloc.rpartition(":")
    if not is_address:  # user:password@host with its http:// forgotten, and not a path
        return bool(colon)
    return "@" in netloc or (bool(colon) and not port.isdigit())
