#!/bin/sh
# Brings uPlot, which draws the dashboard's charts, from npm into the plugin: one version, of a known checksum.
set -eu

version=1.6.32
checksum=4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d
place=$(cd "$(dirname "$0")/.." && pwd)/plugins/imagesys_airflow/api/static/uplot
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$work"
npm pack --silent "uplot@$version" >/dev/null
echo "$checksum  uplot-$version.tgz" | sha256sum --check --quiet
tar -xzf "uplot-$version.tgz"
mkdir -p "$place"
cp package/LICENSE package/dist/uPlot.iife.min.js package/dist/uPlot.min.css "$place"
echo "uPlot $version, from https://www.npmjs.com/package/uplot by scripts/uplot.sh" >"$place/VERSION"
(cd "$place" && sha256sum LICENSE uPlot.iife.min.js uPlot.min.css >SHA256SUMS)
