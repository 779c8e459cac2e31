"""Traces: what a transaction's spans tell, that they are off by default, that a file of them is whole."""

from __future__ import annotations

import builtins
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from drexnode.config import ConfigError, NodeConfig, load_config
from drexnode.metrics import Metrics
from drexnode.own_transactions import OwnTransactions
from drexnode.tracing import Tracer, tracer, tracing
from tests.drexnode.chain import Chain, genesis_document, open_finalizer
from tests.drexnode.homes import make_home

SECOND = 10**9
TXID = bytes(range(32))


class Clock:
    now = 100 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def bench() -> tuple[Clock, Tracer, InMemorySpanExporter]:
    clock, exporter, provider = Clock(), InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return clock, Tracer(provider, clock), exporter


def spans(exporter: InMemorySpanExporter) -> dict[str, tuple[float, float]]:
    return {
        span.name: (span.start_time / SECOND, span.end_time / SECOND)
        for span in exporter.get_finished_spans()
    }


def test_a_validators_spans_follow_one_another_from_admission_to_final(bench: Any) -> None:
    clock, traces, exporter = bench
    for at, commits in ((101, False), (101.5, False), (102, True)):
        clock.now = int(at * SECOND)
        traces.voted(7, 0, commits=commits)
    clock.now = 103 * SECOND
    traces.final(TXID, waited_s=3.0)
    assert spans(exporter) == {
        "transaction": (100, 103), "waiting": (100, 101), "proposal": (101, 102), "commit": (102, 103),
    }  # fmt: skip
    whole = exporter.get_finished_spans()[-1]
    assert dict(whole.attributes) == {"drex.txid": TXID.hex(), "drex.height": 7, "drex.round": 0}
    assert all(span.parent.span_id == whole.context.span_id for span in exporter.get_finished_spans()[:-1])


def test_a_node_that_does_not_vote_tells_the_whole_alone(bench: Any) -> None:
    _, traces, exporter = bench
    traces.final(TXID, waited_s=2.0)
    assert spans(exporter) == {"transaction": (98, 100)}


def test_a_new_round_forgets_the_votes_of_the_one_before(bench: Any) -> None:
    clock, traces, exporter = bench
    traces.voted(7, 0, commits=False)
    clock.now += SECOND
    traces.voted(7, 1, commits=True)
    clock.now += SECOND
    traces.final(TXID, waited_s=5.0)
    assert list(spans(exporter)) == ["transaction"]


def test_votes_before_the_admission_are_no_part_of_the_transaction(bench: Any) -> None:
    clock, traces, exporter = bench
    traces.voted(7, 0, commits=False)
    traces.voted(7, 0, commits=True)
    clock.now += 10 * SECOND
    traces.final(TXID, waited_s=1.0)
    assert list(spans(exporter)) == ["transaction"]


def configured(folder: Path, traces: str) -> NodeConfig:
    config = load_config(make_home(folder))
    return dataclasses.replace(config, log=dataclasses.replace(config.log, traces=traces))


def test_traces_are_off_unless_a_file_is_named(tmp_path: Path) -> None:
    with tracing(configured(tmp_path, "")):
        assert tracer() is None


def test_own_transactions_that_become_final_are_in_the_file_when_the_node_has_ended(tmp_path: Path) -> None:
    document = genesis_document(outputs=2)
    with open_finalizer(tmp_path / "chain", document) as finalizer:
        transaction = Chain(finalizer, document).transfers(1)[0]
    own = OwnTransactions(Metrics(), clock=iter([1.0, 3.5]).__next__)
    with tracing(configured(tmp_path, "spans.jsonl")):
        own.add([transaction])
        own.final([transaction])
    assert tracer() is None
    [line] = (tmp_path / "observer-0" / "spans.jsonl").read_text().splitlines()
    span = json.loads(line)
    assert span["name"] == "transaction"
    assert span["attributes"]["drex.txid"] == transaction.txid.hex()
    assert span["resource"]["attributes"]["service.instance.id"] == "observer-0"


def test_a_file_that_cannot_be_written_and_a_missing_package_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path, "no/such/folder/spans")
    with pytest.raises(ConfigError) as unreadable, tracing(config):
        pass
    assert unreadable.value.code == "CONFIG_UNREADABLE"
    monkeypatch.setattr(builtins, "__import__", without("opentelemetry", builtins.__import__))
    with pytest.raises(ConfigError) as absent, tracing(config):
        pass
    assert absent.value.code == "CONFIG_NO_TRACING"
    assert "drexnode[tracing]" in absent.value.data["next"]


def without(package: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def load(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith(package):
            raise ImportError(name)
        return real(name, *arguments, **more)

    return load
