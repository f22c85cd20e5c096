"""What a part was trained on: recordings, times and fingerprints; and what of it is scored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.stamps import NS_PER_S


class Source(NamedTuple):
    """One recording that was trained on.

    Attributes:
        name, fingerprint, scene: of the recording, or of the part of one; see `Recording`.
        begin_ns, end_ns: first and last stamp that was used, in the scene's clock.
    """

    name: str
    fingerprint: str
    scene: str
    begin_ns: int
    end_ns: int

    def to_line(self) -> str:
        """One line of text: thousands of them are read from YAML much faster than lists are."""
        return json.dumps(self, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Source:
        """Read what `to_line` gives; ValueError or TypeError where it is something else."""
        name, fingerprint, scene, begin_ns, end_ns = json.loads(line)
        return cls(str(name), str(fingerprint), str(scene), int(begin_ns), int(end_ns))


class Overlap(NamedTuple):
    """A recording that was trained on and is scored.

    Attributes:
        part: of the bundle, such as "forecaster".
        source: name of what was trained on.
        recording: name of what is scored.
        seconds: that both show.
    """

    part: str
    source: str
    recording: str
    seconds: float


def sources_of(
    recordings: Iterable[Recording], earlier: Sequence[Source] = ()
) -> tuple[Source, ...]:
    """Describe recordings, after what the part had been trained on before."""
    found = [
        Source(one.name, one.fingerprint, one.scene, int(one.stamps_ns[0]), int(one.stamps_ns[-1]))
        for one in recordings
    ]
    return tuple(dict.fromkeys([*earlier, *found]))


def overlaps(
    trained_on: Mapping[str, Sequence[Source]], recordings: Sequence[Recording]
) -> list[Overlap]:
    """What parts were trained on that is scored now: the same scene at the same time.

    Args:
        trained_on: part -> its sources.
        recordings: that are scored.
    """
    found = []
    for part, sources in trained_on.items():
        of_scene: dict[str, list[Source]] = {}
        for source in sources:
            of_scene.setdefault(source.scene, []).append(source)
        for one in recordings:
            begin_ns, end_ns = int(one.stamps_ns[0]), int(one.stamps_ns[-1])
            for source in of_scene.get(one.scene, ()):
                if source.begin_ns <= end_ns and begin_ns <= source.end_ns:
                    shared_ns = min(source.end_ns, end_ns) - max(source.begin_ns, begin_ns)
                    found.append(Overlap(part, source.name, one.name, shared_ns / NS_PER_S))
    return found


def bundle_sources(info: Mapping[str, Any]) -> dict[str, tuple[Source, ...]]:
    """Part -> what it was trained on, of a bundle's `info`; parts that do not say are left out."""
    kept = info.get("trained_on")
    if not isinstance(kept, Mapping):
        return {}
    try:
        lines = {str(part): str(text).splitlines() for part, text in kept.items()}
        return {part: tuple(map(Source.from_line, found)) for part, found in lines.items()}
    except (ValueError, TypeError):
        return {}


def overlap_notes(info: Mapping[str, Any], recordings: Sequence[Recording]) -> list[str]:
    """A line for every part that was trained on what is scored, and one for the silent parts."""
    trained_on = bundle_sources(info)
    notes = []
    by_part: dict[str, list[Overlap]] = {}
    for one in overlaps(trained_on, recordings):
        by_part.setdefault(one.part, []).append(one)
    for part, found in by_part.items():
        scored = {one.recording for one in found}
        first = max(found, key=lambda one: one.seconds)
        notes.append(
            f"the {part} was trained on what is scored here: {len(scored)} of {len(recordings)} "
            f"recordings overlap, such as {first.recording} with {first.source} "
            f"({first.seconds:.1f} s); its figures are too good"
        )
    provenance = info.get("provenance")
    if isinstance(provenance, Mapping):
        silent = [
            part
            for part, about in provenance.items()
            if part not in trained_on and isinstance(about, Mapping) and about.get("recipe")
        ]
        if silent:
            notes.append(
                f"the bundle does not record what its {', '.join(silent)} was trained on, so "
                "nothing tells whether these data were in it"
            )
    return notes
