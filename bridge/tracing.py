"""Traces by OpenTelemetry, an optional extra: one from Alertmanager's webhook to the phone's receipt.

W3C's traceparent (Trace Context, 3.2) goes with an incident through the ledger, so that a push after a
restart, or by another bridge, still belongs to the webhook that was its cause. Where spans go is said by
OpenTelemetry's own environment: OTEL_EXPORTER_OTLP_ENDPOINT and its kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final, Literal, Protocol, TypeAlias

from bridge import __version__

Kind: TypeAlias = Literal["server", "client"]

_HEADER: Final = "traceparent"


class Span(Protocol):
    """What happens now. `traceparent` names it to who goes on with it; "" where nobody records it."""

    traceparent: str

    def note(self, **attributes: Any) -> None:
        """Add to what is known of it; None is left out."""


class Tracer(Protocol):
    """Records what happens, or does nothing."""

    def span(self, name: str, kind: Kind, parents: Iterable[str] = (), **attributes: Any) -> _Context:
        """Record what happens within; it goes on from the first of `parents`, and is linked to the others."""


class _Nothing:
    traceparent = ""

    def note(self, **attributes: Any) -> None:
        pass


class _Off:
    @contextmanager
    def span(self, name: str, kind: Kind, parents: Iterable[str] = (), **attributes: Any) -> Iterator[Span]:
        del name, kind, parents, attributes
        yield _NOTHING


_NOTHING: Final = _Nothing()
OFF: Final = _Off()


class _Recorded:
    def __init__(self, span: Any, traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent

    def note(self, **attributes: Any) -> None:
        self._span.set_attributes({k.replace("__", "."): v for k, v in attributes.items() if v is not None})


class _On:
    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import Link, SpanKind, get_current_span  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._tracer = provider.get_tracer("pushkit-bridge", __version__)
        self._words = TraceContextTextMapPropagator()
        self._kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
        self._link, self._current = Link, get_current_span

    @contextmanager
    def span(self, name: str, kind: Kind, parents: Iterable[str] = (), **attributes: Any) -> Iterator[Span]:
        contexts = [self._words.extract({_HEADER: parent}) for parent in dict.fromkeys(parents) if parent]
        links = [self._link(self._current(context).get_span_context()) for context in contexts[1:]]
        with self._tracer.start_as_current_span(
            name, context=contexts[0] if contexts else None, kind=self._kinds[kind], links=links
        ) as span:
            carrier: dict[str, str] = {}
            self._words.inject(carrier)
            recorded = _Recorded(span, carrier.get(_HEADER, ""))
            recorded.note(**attributes)
            yield recorded


_Context: TypeAlias = Any


async def begin(stack: AsyncExitStack, *, wanted: bool) -> Tracer:
    """Start to record, if that is `wanted`; what is recorded is sent when `stack` unwinds.

    Raises ValueError where the extra is not installed.
    """
    if not wanted:
        return OFF
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(
            f"--tracing takes the extra: pip install 'pushkit-bridge[tracing]' ({error})"
        ) from None
    ours = Resource({"service.name": "pushkit-bridge", "service.version": __version__})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    stack.push_async_callback(asyncio.to_thread, provider.shutdown)
    return _On(provider)
