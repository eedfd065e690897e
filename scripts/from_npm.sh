#!/bin/sh
# Brings a package's files from npm, of one version and a known checksum: `uplot`, which draws the dashboard's charts, into
# the plugin (and git); `axe`, which looks for what hinders people in its pages, for the browser tests.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# NAME VERSION CHECKSUM PLACE FILE...
bring() {
    name=$1 version=$2 checksum=$3 place=$project/$4
    shift 4
    cd "$work"
    npm pack --silent "$name@$version" >/dev/null
    echo "$checksum  $name-$version.tgz" | sha256sum --check --quiet
    tar -xzf "$name-$version.tgz"
    mkdir -p "$place"
    : >"$place/SHA256SUMS"
    for file in "$@"; do
        cp "package/$file" "$place"
        (cd "$place" && sha256sum "${file##*/}" >>SHA256SUMS)
    done
    echo "$name $version, from npm by scripts/from_npm.sh" >"$place/VERSION"
}

case ${1-} in
    uplot)
        bring uplot 1.6.32 4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d \
            plugins/imagesys_airflow/api/static/uplot LICENSE dist/uPlot.iife.min.js dist/uPlot.min.css
        ;;
    axe)
        bring axe-core 4.14.1 e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745 \
            .local/npm/axe-core LICENSE axe.min.js
        ;;
    *)
        echo "usage: scripts/from_npm.sh uplot|axe" >&2
        exit 2
        ;;
esac
