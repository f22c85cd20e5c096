"""Memory and time of fitting a PCA to many tokens.

Run: python -m dino_foresight_ros.benchmark.pca_memory

Tokens come in frames of 16 x 32 patches, as an encoder gives them; they have the shape of DINOv2
features (correlated, some means far above their deviation). What is counted is the peak of the
resident memory above what the process held after importing torch and making one frame.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from pathlib import Path

from dino_foresight_ros.process.cpu import set_up_cpu

FRAME = 16 * 32


def peak_mb() -> float:
    """Return the highest resident memory of this process so far, MB (10^6 bytes)."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise SystemExit("/proc/self/status has no VmHWM: this needs Linux")
    return int(found.group(1)) * 1024 / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=1536)
    parser.add_argument("--channels", type=int, default=576)
    args = parser.parse_args()
    set_up_cpu()
    import torch

    from dino_foresight_ros.training.pca_fit import StreamingPCA

    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(256, args.features, generator=generator)
    mean = 20 * torch.randn(args.features, generator=generator)

    def frames() -> Iterator[torch.Tensor]:
        for start in range(0, args.tokens, FRAME):
            count = min(FRAME, args.tokens - start)
            hidden = torch.randn(count, 256, generator=generator)
            noise = torch.randn(count, args.features, generator=generator)
            yield hidden @ mixing + noise + mean

    next(frames())
    before = peak_mb()
    started = time.perf_counter()
    fit = StreamingPCA(args.features)
    making_s = 0.0
    source = frames()
    while True:
        asked = time.perf_counter()
        frame = next(source, None)
        making_s += time.perf_counter() - asked
        if frame is None:
            break
        fit.update(frame)
    accumulated_s = time.perf_counter() - started - making_s
    asked = time.perf_counter()
    pca, spectrum = fit.fit(args.channels)
    print(
        f"{spectrum.tokens:,} tokens of {args.features} values -> {pca.channels} channels "
        f"({100 * spectrum.kept(pca.channels):.1f} % kept): {peak_mb() - before:.0f} MB above the "
        f"{before:.0f} MB of the interpreter with torch; {accumulated_s:.0f} s to accumulate, "
        f"{time.perf_counter() - asked:.1f} s to decompose, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
