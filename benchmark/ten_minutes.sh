#!/usr/bin/env bash
# A small forecaster, trained for ten minutes on the synthetic world, against copy-last on seeds it
# has not seen, at every horizon from 0.2 s to 1.6 s. Run it on an otherwise quiet machine:
#
#   benchmark/ten_minutes.sh out/ten_minutes
#
# ENCODER, PCA_CHANNELS, IMAGE_SIZE and MINUTES may be set.
set -euo pipefail

out=${1:?usage: benchmark/ten_minutes.sh OUT}
foresight="$(dirname "$0")/../scripts/with_env foresight"
encoder=${ENCODER:-untrained-tiny}
channels=${PCA_CHANNELS:-64}
size=${IMAGE_SIZE:-126x224}
minutes=${MINUTES:-10}
world="frames=25&interval=0.2&size=$size"
mkdir -p "$out"

$foresight train pca --data "synthetic:?seeds=0-15&$world" --encoder "$encoder" \
    --image-size "$size" --channels "$channels" --out "$out/pca"
$foresight train features --data "synthetic:?seeds=0-119&$world" --encoder "$encoder" \
    --image-size "$size" --pca "$out/pca" --out "$out/train"
$foresight train features --data "synthetic:?seeds=500-507&$world" --encoder "$encoder" \
    --image-size "$size" --pca "$out/pca" --out "$out/validation"
$foresight train forecaster --preset tiny-cpu --features "$out/train" \
    --validation "$out/validation" --intervals 0.2 --minutes "$minutes" --out "$out/run"
$foresight bundle assemble --encoder "$encoder" --image-size "$size" --pca "$out/pca" \
    --forecaster "$out/run" --out "$out/bundle"
$foresight evaluate --bundle "$out/bundle" --data "synthetic:?seeds=900-907&$world" \
    --horizons 1-8 --gaps 0.2 --no-fit --no-labels --out "$out/report"
