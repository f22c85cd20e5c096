#!/usr/bin/env bash
# Makes the bundle in assets/tiny from data, and the reports that docs/skill.md is made of.
#
#   scripts/train_tiny.sh OUT        # or: make train-tiny
#
# DATA is a folder with camvid/{train,test}/{images,labels} and the clips highway.mp4,
# highway_traffic.mp4 and street_camera.mp4. Killed or interrupted, it goes on where it was when it
# is run again. On two cores it takes about two and a half hours; DEVICE=cuda trains on a GPU.
# TRIAL=1 goes through every stage with a few worlds and steps, in minutes; its bundle is of no use.
set -euo pipefail

out=${1:?usage: scripts/train_tiny.sh OUT}
data=${DATA:-$(dirname "$0")/../../shared/data}
device=${DEVICE:-auto}
foresight="$(dirname "$0")/with_env foresight"
for needed in camvid/train camvid/test highway.mp4 highway_traffic.mp4 street_camera.mp4; do
    if [[ ! -e $data/$needed ]]; then
        echo "train_tiny.sh: $data/$needed is missing; set DATA to a folder that has it" >&2
        exit 2
    fi
done
mkdir -p "$out"

# stage NAME COMMAND...: run a stage once.
stage() {
    local name=$1
    shift
    [[ -e $out/.done-$name ]] && return
    printf '\n== %s\n' "$name"
    "$@"
    touch "$out/.done-$name"
}
full() { if [[ -n ${TRIAL:-} ]]; then echo "$2"; else echo "$1"; fi; }  # COUNT COUNT_OF_A_TRIAL
world() { echo "synthetic:?seeds=$1&frames=$2&interval=$3&size=180x320"; }
resumed() { if [[ -e $out/$1/last.safetensors ]]; then echo --resume; fi; }
part() { rm -rf "$1" && shift && "$@"; }  # stages that write a folder whole

stage pixels $foresight train pixels --data "$(world "100000-$(full 100499 100005)" "$(full 24 12)" 0.1)" \
    --image-size 180x320 --jobs 2 --out "$out/pixels"
stage pixels-validation $foresight train pixels --data "$(world "100500-$(full 100519 100500)" "$(full 24 12)" 0.1)" \
    --image-size 180x320 --jobs 2 --out "$out/pixels-validation"
stage pixels-test $foresight train pixels --data "$(world "200000-$(full 200019 200000)" "$(full 140 40)" 0.05)" \
    --image-size 180x320 --jobs 2 --out "$out/pixels-test"

worlds="pixels:$out/pixels"
camvid="camvid:$data/camvid?split=train&classes=world"
clips=("video:$data/highway.mp4?part=0-0.7" "video:$data/highway_traffic.mp4?part=0-0.7")

stage encoder $foresight train encoder --data "$worlds" "$camvid" --shares 0.7 0.3 \
    --batch-size "$(full 16 2)" --steps "$(full 5500 2)" --crop 0.7 --evaluations "$(full 10 1)" --seed 0 --device "$device" \
    --out "$out/encoder" $(resumed encoder)

encoder="$out/encoder"
stage pca part "$out/pca" $foresight train pca --data "$worlds" "$camvid" "${clips[@]}" \
    --encoder "$encoder" --channels 192 --max-tokens "$(full 300000 4000)" --device "$device" --out "$out/pca"

# Six seconds of a real drive beside twenty minutes of synthetic ones: each of its clips eight times.
stage features $foresight train features --data "$worlds" "${clips[0]}&times=8" "${clips[1]}&times=8" \
    --encoder "$encoder" --pca "$out/pca" --device "$device" --out "$out/features"
stage features-validation $foresight train features --data "pixels:$out/pixels-validation" \
    --encoder "$encoder" --pca "$out/pca" --device "$device" --out "$out/features-validation"
stage forecaster $foresight train forecaster --features "$out/features" \
    --validation "$out/features-validation" --preset tiny-cpu --intervals 0.2,0.3 \
    --frame-interval 0.2 --batch-size 8 --lr 1.5e-3 --steps "$(full 2200 2)" --ema 0.995 --evaluations 5 \
    --seed 0 --device "$device" --out "$out/forecaster" $(resumed forecaster)

train_head() {
    local task=$1 steps=$2
    shift 2
    stage "$task" $foresight train head --task "$task" --data "$worlds?part=0-0.34" "$@" \
        --validation "pixels:$out/pixels-validation" --encoder "$encoder" --pca "$out/pca" \
        --preset tiny --steps "$(full "$steps" 2)" --batch-size "$(full 16 2)" --seed 0 --device "$device" --out "$out/$task" $(resumed "$task")
}
train_head segmentation 1600 "$camvid&times=4" --class-weights inverse-sqrt
train_head depth 900
train_head normals 350

stage bundle $foresight bundle assemble --encoder "$encoder" --pca "$out/pca" \
    --forecaster "$out/forecaster" --head segmentation="$out/segmentation" \
    --head depth="$out/depth" --head normals="$out/normals" --dtype float16 --name tiny \
    --licence "Apache-2.0; see README.md beside this file" --out "$out/bundle" --force

# What is fitted beside the forecast costs most of an evaluation; a trial goes without.
fit() { if [[ -n ${TRIAL:-} ]]; then fitted=(--no-fit); else fitted=(--fit-data "$1"); fi; }
evaluate() {
    local name=$1
    shift
    stage "evaluate-$name" $foresight evaluate --bundle "$out/bundle" --gaps 0.2 0.25 0.5 1 1.5 \
        --horizons 1,3 --max-clips "$(full 80 4)" --max-label-clips "$(full 40 2)" --device "$device" --out "$out/reports/$name" --force "$@"
}
mkdir -p "$out/reports"
fit "pixels:$out/pixels-validation"
evaluate synthetic --data "pixels:$out/pixels-test" "${fitted[@]}"
fit "video:$data/highway.mp4?part=0-0.7"
evaluate highway --data "video:$data/highway.mp4?part=0.7-1" "${fitted[@]}"
evaluate street-camera --data "video:$data/street_camera.mp4" "${fitted[@]}"
evaluate camvid --data "camvid:$data/camvid?split=test" --no-fit
