#!/usr/bin/env bash
# Makes the bundle in assets/tiny from data, and the reports that docs/skill.md is made of.
#
#   scripts/train_tiny.sh OUT        # or: make train-tiny
#
# DATA is a folder with camvid/{train,test}/{images,labels}, comma10k/{images,masks} and the clips highway.mp4,
# highway_curve.mp4, robot_track.mp4 and street_camera.mp4. Killed or interrupted, it goes on where
# it was when it is run again. DEVICE=cuda trains on a GPU, in about half an hour beside rendering.
# CAMVID=no leaves CamVid, which is for research only, out of all trainings; it need not be there.
# TRIAL=1 goes through every stage with a few worlds and steps, in minutes; its bundle is of no use.
set -euo pipefail

out=${1:?usage: scripts/train_tiny.sh OUT}
data=${DATA:-$(dirname "$0")/../../shared/data}
device=${DEVICE:-auto}
foresight="$(dirname "$0")/with_env foresight"
has_camvid=${CAMVID:-yes}
needed=(comma10k highway.mp4 highway_curve.mp4 robot_track.mp4 street_camera.mp4)
[[ $has_camvid == no ]] || needed+=(camvid/train camvid/test)
for name in "${needed[@]}"; do
    if [[ ! -e $data/$name ]]; then
        echo "train_tiny.sh: $data/$name is missing; set DATA to a folder that has it" >&2
        exit 2
    fi
done
mkdir -p "$out"
# What is in OUT goes on only as it was begun.
choices="recipe 3, CAMVID=$has_camvid, TRIAL=${TRIAL:-}"
if compgen -G "$out/.done-*" >/dev/null && [[ $(cat "$out/.choices" 2>/dev/null) != "$choices" ]]; then
    begun=$(cat "$out/.choices" 2>/dev/null || echo "an earlier recipe")
    echo "train_tiny.sh: $out was begun with $begun, not with $choices; give another folder" >&2
    exit 2
fi
echo "$choices" >"$out/.choices"

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
render pixels-variety 100700 101899 100705 6 0.4
render pixels-wander 100300 100439 100301 24 0.1 "$wander"
render pixels-wander-more 140000 140159 140001 24 0.1 "$wander"
render pixels-wander-extra 140160 140559 140161 24 0.1 "$wander"
render pixels-slow 140560 140659 140561 14 0.5 "$wander"
render pixels-validation 80000 80011 80000 30 0.1 "$wander"
render pixels-test 200000 200011 200000 100 0.05 "$wander"

worlds="pixels:$out/pixels"
more="pixels:$out/pixels-more"
variety="pixels:$out/pixels-variety"
validation="pixels:$out/pixels-validation"
comma="comma10k:$data/comma10k?split=train&classes=world"
camvid=("camvid:$data/camvid?split=train&classes=world")
weighed=("$camvid&times=6")
clips_at_1_hz=("camvid:$data/camvid?split=train&times=2")
shares=(0.16 0.34 0.2 0.26 0.04)  # how often each kind of data is drawn
if [[ $has_camvid == no ]]; then
    camvid=() weighed=() clips_at_1_hz=() shares=(0.18 0.4 0.36 0.06)
fi
clips=("video:$data/highway.mp4?part=0-0.7" "video:$data/highway_curve.mp4?part=0-0.7" "video:$data/robot_track.mp4?part=0-0.7")

stage encoder $foresight train encoder --data "$worlds" "$more" "$variety" "${camvid[@]}" "$comma" --shares "${shares[@]}" \
    --batch-size "$(full 64 2)" --steps "$(full 2340 2)" --crop 0.6 --ema 0.9995 --evaluations "$(full 4 1)" --seed 0 \
    --device "$device" --out "$out/encoder" $(resumed encoder)

encoder="$out/encoder"
stage pca part "$out/pca" $foresight train pca --data "$worlds" "$more" "${camvid[@]}" "${clips[@]}" \
    --encoder "$encoder" --channels 192 --max-tokens "$(full 200000 4000)" --device "$device" --out "$out/pca"

# features NAME DATA...: a store of features.
features() {
    local name=$1
    shift
    stage "$name" $foresight train features --data "$@" --encoder "$encoder" --pca "$out/pca" --device "$device" --out "$out/$name"
}
features features "$worlds" "$more" "pixels:$out/pixels-wander" "pixels:$out/pixels-wander-more" \
    "pixels:$out/pixels-wander-extra" "pixels:$out/pixels-slow" \
    "${clips[0]}&times=6" "${clips[1]}&times=6" "${clips[2]}&times=3" "${clips_at_1_hz[@]}"
features features-validation "$validation"

# forecaster NAME STEPS LR WORDS...: a training of the forecaster, for cameras of 1 to 25 Hz.
forecaster() {
    local name=$1
    stage "$name" $foresight train forecaster --features "$out/features" --validation "$out/features-validation" \
        --kind world --preset world-tiny --motion blocks --steps "$(full "$2" 2)" --batch-size "$(full 64 2)" --lr "$3" \
        --gaps 0.04,1.0 --horizons 0.04,1.5 --ema 0.999 --evaluations "$(full 4 1)" --device "$device" \
        --out "$out/$name" "${@:4}" $(resumed "$name")
}
forecaster forecaster-first 3355 1e-3 --seed 0
forecaster forecaster 2416 7e-4 --seed 1 --from "$out/forecaster-first"
# What it expects stays; noise learns to draw other futures.
forecaster futures 1000 2e-3 --seed 1 --from "$out/forecaster" --futures blocks --train-only futures \
    --batch-size "$(full 16 2)" --warmup 0.05 --ema 0.99

# train_head NAME TASK STEPS BATCH WORDS...
train_head() {
    local name=$1
    stage "$name" $foresight train head --task "$2" --validation "$validation" --encoder "$encoder" --pca "$out/pca" \
        --steps "$(full "$3" 2)" --batch-size "$(full "$4" 2)" --cache-gb 14 --device "$device" --out "$out/$name" "${@:5}" $(resumed "$name")
}
dense=(--preset tiny --ema 0.995 --seed 0)
train_head segmentation-first segmentation 2374 16 "${dense[@]}" --lr 1.5e-3 --class-weights inverse-sqrt \
    --data "$variety" "${weighed[@]}" "$comma&times=40"
train_head segmentation segmentation 3975 16 "${dense[@]}" --lr 1e-3 --class-weights inverse-sqrt \
    --from "$out/segmentation-first" --data "$worlds" "$variety" "${weighed[@]}" "$comma&times=40"
# Metres need the focal length: 75 degrees.
train_head depth depth 6924 16 "${dense[@]}" --lr 1.5e-3 --quantile 0.4 --focal 0.8765 --data "$worlds" "$variety"
train_head normals normals 7293 16 "${dense[@]}" --lr 1.5e-3 --data "$worlds" "$variety"
centres=(--preset centres --channels 32,64,96,96 --width 48)
train_head instances-first instances 1229 16 "${centres[@]}" --ema 0.995 --seed 0 \
    --from "$out/segmentation" --data "pixels:$out/pixels-wander-more"
train_head instances instances 1200 8 "${centres[@]}" --lr 6e-4 --warmup 0.1 --ema 0.99 --seed 1 --validation-images 60 \
    --from "$out/instances-first" --data "$worlds?part=0.3-0.6"

# assemble OUT PARTS...: a bundle of the parts.
assemble() {
    local folder=$1
    shift
    $foresight bundle assemble --dtype float16 --name tiny --licence "Apache-2.0; see README.md beside this file" "$@" --out "$folder" --force
}
stage bundle assemble "$out/bundle" --encoder "$encoder" --pca "$out/pca" --forecaster "$out/futures" --hindcast \
    --head segmentation="$out/segmentation" --head depth="$out/depth" --head normals="$out/normals" --head instances="$out/instances"

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
if [[ -e $data/camvid/test ]]; then
    evaluate camvid --data "camvid:$data/camvid?split=test" --no-fit
fi
