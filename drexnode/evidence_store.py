"""Proofs against validators on disk: one file each, written whole, never deleted by the node.

Promises: evidence of one (validator, height, round, step) is kept once, however often it comes; what a crash
or a hand damaged is named in the log and left where it is; the number of files is bounded. A proof that two
certified blocks contradict each other is written before the node stops, and the log names its file.
Layouts: docs/encodings-consensus.md, "Evidence" and "Conflict proof".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from consensus.evidence import MAX_EVIDENCE_BYTES, Evidence, decode_evidence
from drexnode.telemetry import get_logger
from primitives.codec import encode
from primitives.errors import DecodeError, InvariantViolation, StorageFailure
from primitives.limits import DRIVER_EVIDENCE_KEPT, EVIDENCE_PER_VALIDATOR
from storage.files import read_bounded, replace_file, write_failed

EVIDENCE_FOLDER = "evidence"
_log = get_logger("evidence")

Subject = tuple[bytes, int, int, int]


class EvidenceStore:
    """The evidence of one node. `admit` on the event loop; `write` blocks and belongs in a thread."""

    def __init__(self, directory: Path) -> None:
        """Read what is kept. Raises `StorageFailure`."""
        self._directory = directory
        self._kept: dict[Subject, Evidence] = {}
        self.on_admitted: Callable[[Evidence], None] = lambda evidence: None
        for path in sorted(directory.glob("equivocation-*.bin"))[:DRIVER_EVIDENCE_KEPT]:
            try:
                data = read_bounded(path, MAX_EVIDENCE_BYTES)
                if data is not None:
                    evidence = decode_evidence(data)
                    self._kept[_subject(evidence)] = evidence
            except (DecodeError, StorageFailure) as error:
                _log.warning("evidence.unreadable", file=str(path), error=str(error))

    @property
    def kept(self) -> tuple[Evidence, ...]:
        """All evidence, by height, round and step."""
        return tuple(sorted(self._kept.values(), key=lambda found: (found.height, found.round, found.step)))

    def admit(self, evidence: Evidence) -> bool:
        """Take evidence; True when it is new and must be written. No file is touched."""
        if not self.wants(evidence):
            return False
        self._kept[_subject(evidence)] = evidence
        self.on_admitted(evidence)
        return True

    def wants(self, evidence: Evidence) -> bool:
        """True for evidence that is new and for which there is room: in all, and against its validator."""
        if _subject(evidence) in self._kept or len(self._kept) >= DRIVER_EVIDENCE_KEPT:
            return False
        against = sum(kept.validator == evidence.validator for kept in self._kept.values())
        return against < EVIDENCE_PER_VALIDATOR

    def write(self, evidence: Evidence) -> None:
        """Make admitted evidence durable. Raises `StorageFailure`."""
        name = f"equivocation-{evidence.height:016d}-{evidence.round}-{evidence.step}"
        _write(self._directory / f"{name}-{evidence.validator.hex()[:16]}.bin", encode(evidence))


def keep_proofs(stopped_by: BaseException, directory: Path) -> list[Path]:
    """Write every proof that comes with what stopped the node into `directory`, and name the files."""
    written = []
    for error, proof in _proofs(stopped_by):
        path = directory / f"conflict-{error.data.get('height', 'unknown')}.bin"
        try:
            _write(path, proof)
        except StorageFailure as failure:
            _log.error("evidence.proof_not_written", error=str(failure), proof=proof.hex())
            continue
        _log.error("evidence.proof_written", file=str(path), code=error.code, message=error.message)
        written.append(path)
    return written


def _proofs(error: BaseException) -> Iterator[tuple[InvariantViolation, bytes]]:
    if isinstance(error, BaseExceptionGroup):
        for item in error.exceptions:
            yield from _proofs(item)
    elif isinstance(error, InvariantViolation) and isinstance(error.data.get("proof"), bytes):
        yield error, error.data["proof"]


def _subject(evidence: Evidence) -> Subject:
    return (evidence.validator, evidence.height, evidence.round, evidence.step)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise write_failed(path.parent, error) from error
    replace_file(path, data)
