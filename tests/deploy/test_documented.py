"""What the documents show of Kubernetes, and of the chart's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, helm, known_to_the_operator
from documents import Fence, parts

OPERATOR = "monitoring.coreos.com/"
SHOWN = parts("kubernetes", "chart")


@pytest.mark.parametrize(("fence", "part"), SHOWN, ids=[fence.place for fence, _ in SHOWN])
def test_kubernetes_the_operator_and_the_chart_take_what_the_documents_show(
    fence: Fence, part: dict[str, Any], tmp_path: Path
) -> None:
    if "apiVersion" not in part:
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(part))
        shape = CHART / f"{part.get('shape', 'single')}.yaml"
        assert "kind:" in helm("template", "x", CHART, "-f", shape, "-f", file), fence.place
    elif part["apiVersion"].startswith(OPERATOR):
        known_to_the_operator(part)
    else:
        import kubernetes_validate as kubernetes  # from the tools' own folder

        kubernetes.validate(part, "1.37", strict=True)
