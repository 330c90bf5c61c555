from __future__ import annotations

import pytest
from ledgers import BACKENDS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ledger", choices=BACKENDS, default="sqlite", help="what the app's stories are played on"
    )
