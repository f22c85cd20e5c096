#!/usr/bin/env bash
# Makes the pictures of README.md and docs/ by running the demo and the nodes: minutes.
#
#   docs/pictures.sh CLIP          # a video of a drive
#
# BUNDLE chooses the model (default: as `make demo`). WHICH makes only some: world, clip, six,
# overlay.
set -euo pipefail

clip=$(readlink -f "${1:?usage: docs/pictures.sh CLIP}")
[[ -f $clip ]] || { echo "pictures.sh: $clip does not exist" >&2; exit 2; }
cd "$(dirname "$0")/.."
out=out/pictures images=docs/images
mkdir -p "$out" "$images"
demo() { scripts/with_env foresight demo ${BUNDLE:+--bundle "$BUNDLE"} "$@"; }
save() { scripts/with_env python test/helpers/save_image.py "$@"; }

world() {
    demo --out "$out/world"
    save file "$out/world/contact_sheet.png" "$images/demo.jpg"
    save file "$out/world/skill.png" "$images/demo_skill.jpg"
}

clip() {
    demo --input "$clip" --out "$out/clip"
    save file "$out/clip/contact_sheet.png" "$images/demo_clip.jpg"
}

six() {
    local bag=$out/scene-0061
    if [[ ! -e $bag ]]; then
        scripts/with_env python test/helpers/nuscenes_set.py "$out/nuscenes"
        scripts/with_env foresight bag from-nuscenes --dataroot "$out/nuscenes" \
            --scene scene-0061 --out "$bag"
    fi
    demo --input "$bag" --cameras all --rate "${RATE:-0.25}" --out "$out/six"
    save file "$out/six/mosaic.png" "$images/six_cameras.jpg"
}

overlay() {
    local bundle=${BUNDLE:-tiny} pids=()
    export ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-77} ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
    scripts/with_env forecast_node --ros-args -p bundle:="$bundle" &
    pids+=($!)
    scripts/with_env overlay_node --ros-args -p mosaic_width:=1600 &
    pids+=($!)
    scripts/with_env replay_node --ros-args -p input:="$clip" -p wait_for_subscriber_s:=300.0 \
        -p loop:=true -p rate:="${RATE:-1.0}" -p publish_clock:=false &
    pids+=($!)
    trap 'kill -INT "${pids[@]}" 2>/dev/null || true' EXIT
    save topic foresight/mosaic/image_color "$images/overlay_mosaic.jpg" 20
    kill -INT "${pids[@]}"
    wait "${pids[@]}" || true
    trap - EXIT
}

for name in ${WHICH:-world clip six overlay}; do
    "$name"
done
