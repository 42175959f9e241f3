"""Doctests of ``degrade`` and ``sr``: seeded, with the names that every example uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def doctest_names(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        torch.manual_seed(0)
        doctest_namespace.update(np=np, torch=torch)
