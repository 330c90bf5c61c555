"""What the documents show of Kubernetes, and of the chart's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, helm, known_to_the_operator
from documents import Fence, parts

OPERATOR = "monitoring.coreos.com/"
OBJECTS = parts("kubernetes")
VALUES = parts("chart")


@pytest.mark.parametrize(("fence", "part"), OBJECTS, ids=[fence.place for fence, _ in OBJECTS])
def test_kubernetes_or_the_operator_takes_the_objects_in_the_documents(
    fence: Fence, part: dict[str, Any]
) -> None:
    if part["apiVersion"].startswith(OPERATOR):
        known_to_the_operator(part)
        return
    import kubernetes_validate as kubernetes  # from the tools' own folder

    kubernetes.validate(part, "1.37", strict=True)


@pytest.mark.parametrize(("fence", "part"), VALUES, ids=[fence.place for fence, _ in VALUES])
def test_the_chart_takes_the_values_in_the_documents(
    fence: Fence, part: dict[str, Any], tmp_path: Path
) -> None:
    shape = part.get("shape", "single")
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(part))
    assert "kind:" in helm("template", "x", CHART, "-f", CHART / f"{shape}.yaml", "-f", file), fence.place
