from __future__ import annotations

import pytest
from contracts import contract, contract_is_watched
from hypothesis import settings
from ledgers import BACKENDS

__all__ = ["contract", "contract_is_watched"]

# Other dice each time, as by default, but no deadline: how long an example takes says how busy the machine is.
settings.register_profile("fuzz", deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ledger", choices=BACKENDS, default="sqlite", help="what the app's stories are played on"
    )
