#!/usr/bin/env bash
# Makes the bundle in assets/tiny from data, and the reports that docs/skill.md is made of.
#
#   scripts/train_tiny.sh OUT        # or: make train-tiny
#
# DATA is a folder with camvid/{train,test}/{images,labels} and the clips highway.mp4,
# highway_curve.mp4, robot_track.mp4 and street_camera.mp4. Killed or interrupted, it goes on where
# it was when it is run again. DEVICE=cuda trains on a GPU, in about half an hour beside rendering.
# TRIAL=1 goes through every stage with a few worlds and steps, in minutes; its bundle is of no use.
set -euo pipefail

out=${1:?usage: scripts/train_tiny.sh OUT}
data=${DATA:-$(dirname "$0")/../../shared/data}
device=${DEVICE:-auto}
foresight="$(dirname "$0")/with_env foresight"
for needed in camvid/train camvid/test highway.mp4 highway_curve.mp4 robot_track.mp4 street_camera.mp4; do
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
size=154x280
world() { echo "synthetic:?seeds=$1&frames=$2&interval=$3&size=$size${4:-}"; }  # SEEDS FRAMES INTERVAL REST
resumed() { if [[ -e $out/$1/last.safetensors ]]; then echo --resume; fi; }
part() { rm -rf "$1" && shift && "$@"; }  # stages that write a folder whole

# pixels NAME FIRST LAST LAST_OF_A_TRIAL FRAMES INTERVAL [REST]: a store of worlds.
jobs=${JOBS:-2}
render() {
    local name=$1
    stage "$name" $foresight train pixels --data "$(world "$2-$(full "$3" "$4")" "$(full "$5" 12)" "$6" "${7:-}")" \
        --image-size "$size" --jobs "$jobs" --out "$out/$name"
}
wander="&driver=wander"  # a driver who turns and brakes, so that motion is more than going on
render pixels 100000 100219 100005 24 0.1
render pixels-more 100220 100699 100225 24 0.1
render pixels-wander 100300 100439 100301 24 0.1 "$wander"
render pixels-wander-more 140000 140159 140001 24 0.1 "$wander"
render pixels-validation 80000 80011 80000 30 0.1 "$wander"
render pixels-test 200000 200011 200000 100 0.05 "$wander"

worlds="pixels:$out/pixels"
camvid="camvid:$data/camvid?split=train&classes=world"
clips=("video:$data/highway.mp4?part=0-0.7" "video:$data/highway_curve.mp4?part=0-0.7" "video:$data/robot_track.mp4?part=0-0.7")

stage encoder $foresight train encoder --data "$worlds" "pixels:$out/pixels-more" "$camvid" --shares 0.22 0.48 0.3 \
    --batch-size "$(full 32 2)" --steps "$(full 6000 2)" --crop 0.6 --evaluations "$(full 4 1)" --seed 0 --device "$device" \
    --out "$out/encoder" $(resumed encoder)

encoder="$out/encoder"
stage pca part "$out/pca" $foresight train pca --data "$worlds" "$camvid" "${clips[@]}" \
    --encoder "$encoder" --channels 192 --max-tokens "$(full 200000 4000)" --device "$device" --out "$out/pca"

# features NAME DATA...: a store of features.
features() {
    local name=$1
    shift
    stage "$name" $foresight train features --data "$@" --encoder "$encoder" --pca "$out/pca" --device "$device" --out "$out/$name"
}
features features "$worlds" "pixels:$out/pixels-wander" "${clips[@]}"
features features-more "pixels:$out/pixels-wander-more" "${clips[0]}&times=4" "${clips[1]}&times=4" "${clips[2]}" \
    "camvid:$data/camvid?split=train"
features features-validation "pixels:$out/pixels-validation"

# forecaster NAME STORE STEPS BATCH LR GAPS WORDS...: a training of the forecaster.
forecaster() {
    local name=$1
    stage "$name" $foresight train forecaster --features "$out/$2" --validation "$out/features-validation" \
        --kind world --preset world-tiny --motion blocks --steps "$(full "$3" 2)" --batch-size "$(full "$4" 2)" --lr "$5" \
        --gaps "$6" --horizons 0.04,1.5 --ema 0.995 --evaluations "$(full 4 1)" --device "$device" \
        --out "$out/$name" "${@:7}" $(resumed "$name")
}
forecaster forecaster-first features 3200 32 1e-3 0.05,0.3 --seed 0
# Then also slow cameras, with gaps of up to a second.
forecaster forecaster features-more 500 16 3e-4 0.04,1.0 --seed 0 --from "$out/forecaster-first"

train_head() {
    local task=$1 steps=$2
    shift 2
    stage "$task" $foresight train head --task "$task" --data "$worlds" "$@" \
        --validation "pixels:$out/pixels-validation" --encoder "$encoder" --pca "$out/pca" \
        --preset tiny --steps "$(full "$steps" 2)" --batch-size "$(full 16 2)" --lr 1.5e-3 --ema 0.995 --seed 0 --device "$device" --out "$out/$task" $(resumed "$task")
}
train_head segmentation 4000 "$camvid" --class-weights inverse-sqrt
train_head depth 3800 --quantile 0.4 --focal 0.8765  # metres need the focal length: 75 degrees
train_head normals 4400
stage instances $foresight train head --task instances --preset centres --channels 32,64,96,96 --width 48 \
    --from "$out/segmentation" --data "pixels:$out/pixels-wander-more?part=0.3-0.6" --validation "pixels:$out/pixels-validation" \
    --encoder "$encoder" --pca "$out/pca" --steps "$(full 1900 2)" --batch-size "$(full 8 2)" --seed 0 --device "$device" \
    --out "$out/instances" $(resumed instances)

# assemble OUT PARTS...: a bundle of the parts.
assemble() {
    local folder=$1
    shift
    $foresight bundle assemble --dtype float16 --name tiny --licence "Apache-2.0; see README.md beside this file" "$@" --out "$folder" --force
}
first="$out/bundle-first"
stage bundle-first assemble "$first" --encoder "$encoder" --pca "$out/pca" --forecaster "$out/forecaster" --hindcast \
    --head segmentation="$out/segmentation" --head depth="$out/depth" --head normals="$out/normals" --head instances="$out/instances"

# Forecasts are means of what may come: a head that has seen them reads what moves better, farther ahead.
stage pixels-pseudo $foresight train pixels --pseudo-labels "$first" --data "${clips[@]}" --image-size "$size" --out "$out/pixels-pseudo"
stage segmentation-ahead $foresight train head --task segmentation --preset tiny --from "$first" \
    --data "pixels:$out/pixels-wander-more" "pixels:$out/pixels-pseudo" --validation "pixels:$out/pixels-validation" \
    --encoder "$first" --pca "$first" --forecaster "$first" --steps-ahead "$(full 0,1,3,5 0,1)" --interval 0.2 \
    --steps "$(full 500 2)" --batch-size "$(full 16 2)" --lr 4e-4 --ema 0.99 --seed 0 --device "$device" \
    --out "$out/segmentation-ahead" $(resumed segmentation-ahead)
stage bundle assemble "$out/bundle" --encoder "$first" --pca "$first" --forecaster "$first" \
    --head segmentation="$out/segmentation-ahead" --head depth="$first" --head normals="$first" --head instances="$first"

# What is fitted beside the forecast costs most of an evaluation; a trial goes without.
fit() { if [[ -n ${TRIAL:-} ]]; then fitted=(--no-fit); else fitted=(--fit-data "$1"); fi; }
evaluate() {
    local name=$1
    shift
    stage "evaluate-$name" $foresight evaluate --bundle "$out/bundle" --gaps 0.2 0.25 0.5 1 1.5 \
        --horizons 1,3 --max-clips "$(full 60 4)" --max-label-clips "$(full 36 2)" --device "$device" --out "$out/reports/$name" --force "$@"
}
mkdir -p "$out/reports"
fit "pixels:$out/pixels-validation"
evaluate synthetic --data "pixels:$out/pixels-test" "${fitted[@]}"
evaluate synthetic-no-motion --data "pixels:$out/pixels-test" --no-fit --motion none
fit "video:$data/highway.mp4?part=0-0.7"
evaluate highway --data "video:$data/highway.mp4?part=0.7-1" "${fitted[@]}"
evaluate curve --data "video:$data/highway_curve.mp4?part=0.7-1" --no-fit
evaluate robot --data "video:$data/robot_track.mp4?part=0.7-1" --no-fit
evaluate street-camera --data "video:$data/street_camera.mp4?part=0-0.5" --no-fit
evaluate camvid --data "camvid:$data/camvid?split=test" --no-fit
