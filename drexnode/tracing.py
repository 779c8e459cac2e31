"""OpenTelemetry traces of this node's own transactions: admitted → proposal → commit → final.

Optional: without `log.traces` nothing here does anything, and the package `opentelemetry-sdk`
(`drexnode[tracing]`) is not even imported. Guarantees: it only watches; a span is made once its transaction
is final, from times noted on the way, and is written by a thread of its own through a bounded queue, so that
a slow disk costs spans and never votes. `OTEL_TRACES_SAMPLER` and its argument choose a share of
transactions, as OpenTelemetry defines them. No span holds an address or an amount.

    transaction                      admission by this node … FINAL here
      ├─ waiting                     until this validator voted for the block's proposal
      ├─ proposal                    from that PROPOSAL or PREPARE to its COMMIT
      └─ commit                      from its COMMIT to the final block
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drexnode.config import ConfigError, NodeConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


@dataclass(frozen=True, slots=True)
class Votes:
    """When this validator voted in the round that decided a height, nanoseconds since 1970."""

    height: int
    round: int
    proposal_ns: int | None = None
    commit_ns: int | None = None


class Tracer:
    """Makes spans. Belongs to the node's thread."""

    def __init__(self, provider: TracerProvider, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._tracer = provider.get_tracer("drexnode")
        self._clock_ns = clock_ns
        self._votes: Votes | None = None

    def voted(self, height: int, round: int, *, commits: bool) -> None:
        """This validator votes for a proposal, or commits to it."""
        now, votes = self._clock_ns(), self._votes
        if votes is None or (votes.height, votes.round) != (height, round):
            votes = Votes(height, round)
        if commits:
            self._votes = Votes(height, round, votes.proposal_ns, now)
        elif votes.proposal_ns is None:
            self._votes = Votes(height, round, now, votes.commit_ns)

    def final(self, txid: bytes, waited_s: float) -> None:
        """A transaction that was admitted `waited_s` ago is final."""
        from opentelemetry import trace

        end = self._clock_ns()
        begin = end - round(waited_s * 1e9)
        span = self._tracer.start_span("transaction", start_time=begin, attributes={"drex.txid": txid.hex()})
        inside = trace.set_span_in_context(span)
        for name, since, until in self._parts(begin, end):
            part = self._tracer.start_span(name, inside, start_time=since)
            part.end(until)
        if self._votes is not None:
            span.set_attribute("drex.height", self._votes.height)
            span.set_attribute("drex.round", self._votes.round)
        span.end(end)

    def _parts(self, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
        """The parts that this node can tell: a follower none, a validator that joined late some."""
        votes = self._votes
        if votes is None or votes.proposal_ns is None or votes.commit_ns is None:
            return
        if begin <= votes.proposal_ns <= votes.commit_ns <= end:
            yield "waiting", begin, votes.proposal_ns
            yield "proposal", votes.proposal_ns, votes.commit_ns
            yield "commit", votes.commit_ns, end


_tracer: Tracer | None = None


def tracer() -> Tracer | None:
    """The process's tracer; None while traces are off."""
    return _tracer


@contextmanager
def tracing(config: NodeConfig) -> Iterator[None]:
    """Traces into `log.traces` for as long as the body runs. Raises `ConfigError` CONFIG_NO_TRACING,
    CONFIG_UNREADABLE.
    """
    if not config.log.traces:
        yield
        return
    global _tracer
    provider, file = _open(config)
    _tracer = Tracer(provider)
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()
        file.close()


def _open(config: NodeConfig) -> tuple[TracerProvider, Any]:
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError:
        message = "log.traces is set, and the package opentelemetry-sdk is not installed"
        hint = "pip install 'drexnode[tracing]', or unset log.traces"
        raise ConfigError("CONFIG_NO_TRACING", message, next=hint) from None
    path = config.path(config.log.traces)
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError("CONFIG_UNREADABLE", f"{path}: {error.strerror}", path=str(path)) from None
    resource = Resource.create({"service.name": "drexnode", "service.instance.id": config.node.name})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider, file
