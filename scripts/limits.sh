#!/usr/bin/env bash
# Where does a transfer end? One pair of built-in organisms, one thing varied at a time.
#
#   scripts/limits.sh OUT DONOR TARGET [MORE OPTIONS OF transfer]
#
# OUT            folder of the runs: OUT/base with all defaults, and OUT/AXIS/VALUE
# DONOR, TARGET  FAMILY or FAMILY:SEED, such as llama mixtral:1
# AXES           environment: the axes to run (default: all of them, below)
# CLASSES ATOMS TEXTS WIDTHS KS SEEDS EARLY GUARDS MATCHINGS CEILING
#                environment: the values of an axis, such as ATOMS="4 32"
#
# Afterwards `conceptbasis limits OUT` draws a figure per axis and judges the forecast. Each run
# starts from the finished stages of the base, so that only what a value changes is computed.
# Controls and baselines are left out, and a forecast that declines is overruled: what it would have
# missed is part of the question. A value that was interrupted goes on where it stopped.
set -euo pipefail

usage="usage: scripts/limits.sh OUT DONOR TARGET [MORE OPTIONS OF transfer]"
out=${1:?$usage} donor=${2:?$usage} target=${3:?$usage}
shift 3
[[ $donor == *:* ]] || donor=$donor:0
[[ $target == *:* ]] || target=$target:0
budget=B0d
few=(--force --set evaluate.controls=false --set 'evaluate.baselines=[]' --set evaluate.n_prompts=150
    --set atoms.n_leave_out=0)

# side FAMILY:SEED BUDGET [KEY: VALUE, ...]: writes the file of one model and prints its path.
side() {
    local key name
    key=$(printf '%s' "${3:-}" | tr -cs 'a-z0-9_' '-')
    name=${1/:/-}-$2${key:+-${key%-}}
    mkdir -p "$out/models"
    cat >"$out/models/$name.yaml" <<YAML
name: ${1/:/-}
model: organism:$1
saes:
  train: {budget: $2${3:+, $3}}
YAML
    echo "$out/models/$name.yaml"
}

# pair [KEYS OF saes.train]: donor and target with these SAEs, as options of transfer.
pair() { options=(--donor "$(side "$donor" $budget "${1:-}")" --target "$(side "$target" $budget "${1:-}")"); }

# run FOLDER [OPTIONS]: one transfer, begun from the stages of the base that are finished.
run() {
    local folder=$out/$1
    shift
    echo "== $folder"
    if [ "$folder" != "$out/base" ] && [ ! -e "$folder" ]; then
        mkdir -p "$(dirname "$folder")"
        # Every file is replaced and none is changed in place, so that links are as good as copies.
        cp -al "$out/base" "$folder" 2>/dev/null || cp -a "$out/base" "$folder"
        rm -rf "$folder"/{summary.json,report.html,figures,.lock,wandb}
    fi
    rm -f "$folder/no_transfer"
    # A value at which there is nothing left to transfer is a result too, unlike an interruption.
    conceptbasis transfer "${options[@]}" --out "$folder" --set budget=$budget "${few[@]}" "$@" ||
        { [ $? -eq 2 ] && touch "$folder/no_transfer"; }
}

pair
run base "$@"
[ -e "$out/base/summary.json" ] # without a base there is nothing to vary
for axis in ${AXES:-classes atoms text width k seed early guard matching ceiling}; do
    case $axis in
    classes) # kinds of text that neither the SAEs nor the transfer see
        for class in ${CLASSES:-chat arithmetic greetings mentions definitions mention_turns declines}; do
            pair "without: [$class]"
            run "classes/$class" --set "harvest.without=[$class]" "$@"
        done ;;
    atoms) # exactly as many atoms on both sides, whatever they hold
        pair
        for n in ${ATOMS:-1 2 4 8 16 32 64}; do
            run "atoms/$n" --set fit.n_atoms="$n" --set transfer.n_atoms="$n" --set fit.mass=1 "$@"
        done ;;
    text)
        pair
        for n in ${TEXTS:-3000 1500 750 375 188 94}; do
            run "text/$n" --set harvest.n_texts="$n" "$@"
        done ;;
    width)
        for n in ${WIDTHS:-192 384 768 1536}; do pair "d_sae: $n" && run "width/$n" "$@"; done ;;
    k)
        for k in ${KS:-4 8 16 32}; do pair "k: $k" && run "k/$k" "$@"; done ;;
    seed)
        for seed in ${SEEDS:-0 1 2 3 4}; do pair "seed: $seed" && run "seed/$seed" "$@"; done ;;
    early) # only layers below this share of the depth
        pair
        for share in ${EARLY:-1.0 0.875 0.75 0.625 0.5 0.375 0.25 0.125}; do
            run "early/$share" --set replay.layers=early --set replay.early_fraction="$share" "$@"
        done ;;
    guard) # the strongest output directions of the weights kept out, as a share of the width
        pair
        for share in ${GUARDS:-0.0 0.01 0.02 0.04 0.08 0.16}; do
            run "guard/$share" --set guard.forced="$share" "$@"
        done ;;
    matching) # who may be whose partner: top-K, one-to-one, r-LEAST, fdr-RATE
        pair
        for rule in ${MATCHINGS:-top-1 top-3 top-5 top-10 top-20 one-to-one \
            r-0.0 r-0.2 r-0.35 r-0.5 r-0.65 r-0.8 fdr-0.001 fdr-0.05 fdr-0.99}; do
            case $rule in
            top-*) key=match.top_k=${rule#top-} ;;
            one-to-one) key=match.one_to_one=true ;;
            r-*) key=match.r_min=${rule#r-} ;;
            fdr-*) key=match.fdr=${rule#fdr-} ;;
            *)
                echo "unknown rule of matching: $rule" >&2
                exit 2 ;;
            esac
            run "matching/$rule" --set "$key" "$@"
        done ;;
    ceiling) # a model matched with itself, across two trainings of its SAEs
        for model in ${CEILING:-$donor $target}; do
            options=(--donor "$(side "$model" $budget)" --target "$(side "$model" $budget "seed: 1")")
            run "ceiling/${model/:/-}" "$@"
        done ;;
    *)
        echo "unknown axis: $axis" >&2
        exit 2 ;;
    esac
done
