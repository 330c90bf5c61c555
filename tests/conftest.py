from __future__ import annotations

import pytest
from contracts import contract, contract_is_watched
from ledgers import BACKENDS

__all__ = ["contract", "contract_is_watched"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ledger", choices=BACKENDS, default="sqlite", help="what the app's stories are played on"
    )
