"""All phones, by name and by token."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from bridge.pushes import PushKind, mask
from bridge.simulator.phones import Phone
from bridge.simulator.profile import Profile
from bridge.simulator.rules import TOKEN


class Phones:
    """The phones that there are."""

    def __init__(self) -> None:
        self._phones: dict[str, Phone] = {}

    def __iter__(self) -> Iterator[Phone]:
        return iter(list(self._phones.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._phones

    def __getitem__(self, name: str) -> Phone:
        try:
            return self._phones[name]
        except KeyError:
            raise KeyError(
                f"no phone {name!r}; there are {', '.join(sorted(self._phones)) or 'none'}"
            ) from None

    def add(self, phone: Phone) -> Phone:
        """Take a phone in. Raises ValueError if its name or a token is taken."""
        if phone.name in self._phones:
            raise ValueError(f"there is a phone {phone.name!r} already")
        self.check_tokens(phone.name, phone.profile)
        self._phones[phone.name] = phone
        return phone

    def check_tokens(self, name: str, profile: Profile) -> None:
        """Raise ValueError where a token is not free for this phone."""
        if profile.voip_token.lower() == profile.alert_token.lower():
            raise ValueError("voip_token and alert_token are the same; iOS never gives out the same twice")
        for token in (profile.voip_token, profile.alert_token):
            if not TOKEN.fullmatch(token):
                raise ValueError(f"token {mask(token)} is not hexadecimal, or longer than 100 bytes")
            owner = self.find(token)
            if owner is not None and owner[0].name != name:
                raise ValueError(f"token {mask(token)} belongs to the phone {owner[0].name!r}")

    def remove(self, name: str) -> Phone:
        """Let a phone go: its tokens become unknown. Raises KeyError."""
        phone = self[name]
        del self._phones[name]
        return phone

    def find(self, token: str) -> tuple[Phone, PushKind] | None:
        """Give the phone that has this token, and which of its tokens it is."""
        wanted = token.lower()
        for phone in self._phones.values():
            if phone.profile.voip_token.lower() == wanted:
                return phone, "voip"
            if phone.profile.alert_token.lower() == wanted:
                return phone, "alert"
        return None

    def dead_since(self, token: str) -> datetime | None:
        """Say since when a token is dead that a phone had once; None: it never was one, or lives."""
        wanted = token.lower()
        return next(
            (phone.retired[wanted] for phone in self._phones.values() if wanted in phone.retired), None
        )
