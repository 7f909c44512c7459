#!/usr/bin/env bash
# Runs "Pansharpen (ssdiff)" in QGIS itself, headless, on the example pair: tests/qgis/run.sh
# It needs qgis_process (Debian: apt-get install --no-install-recommends qgis python3-qgis), and an environment with
# ssdiff: the folder in SSDIFF_ENVIRONMENT, else .venv.
# Exit status 77: something of that is missing, nothing was tested.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
skip() { echo "skipped: $1"; exit 77; }
fail() { echo "FAILED: $1"; exit 1; }

# Debian's qgis_process hands QGIS's own options to a program that knows none of them; the program itself is beside it
qgis=$(PATH=/usr/bin:/bin:$PATH; command -v qgis_process.bin || command -v qgis_process) || skip "QGIS is not installed"
environment=${SSDIFF_ENVIRONMENT:-$root/.venv}
sharpen=$environment/bin/ssdiff-sharpen
test -x "$sharpen" || skip "there is no ssdiff-sharpen in $environment"

folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
plugins=$folder/home/.local/share/QGIS/QGIS3/profiles/default/python/plugins
mkdir -p "$plugins" "$folder/run"; chmod 700 "$folder/run"
# QGIS finds the system's Python, a profile of its own, and no screen
process() {
  env -i PATH=/usr/bin:/bin HOME="$folder/home" XDG_RUNTIME_DIR="$folder/run" QT_QPA_PLATFORM=offscreen LC_ALL=C.UTF-8 \
    OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" "$qgis" "$@" 2>&1 | grep -v "DeprecationWarning: setapi" || true
}

echo "== the zip is installed"
python3 - "$root" "$folder/plugin.zip" "$plugins" <<'PYTHON'
import sys, zipfile
root, path, plugins = sys.argv[1:]
sys.path.insert(0, f"{root}/qgis")
from pack import pack
zipfile.ZipFile(pack(path)).extractall(plugins)
PYTHON
process plugins enable ssdiff_processing
process help ssdiff:pansharpen > "$folder/help"
for name in PAN MS SENSOR METHOD REGISTRATION SAMPLES EXTRA ENVIRONMENT OUTPUT UNCERTAINTY; do
  grep -q "^$name:" "$folder/help" || { cat "$folder/help"; fail "the algorithm has no parameter $name"; }
done

echo "== the example pair, by a classical method"
"$sharpen" --example "$folder/pair"
pair=(--PAN="$folder/pair/PAN.tif" --MS="$folder/pair/MS.tif" --ENVIRONMENT="$environment")
process run ssdiff:pansharpen "${pair[@]}" --SENSOR=WV3 --METHOD=MTF-GLP-FS --OUTPUT="$folder/qgis.tif" |
  tee "$folder/said"
grep -q "OUTPUT:.*qgis.tif" "$folder/said" || fail "the algorithm names no result"
grep -q "HQNR 0\." "$folder/said" || fail "the messages of the command are not shown"
"$sharpen" "$folder/pair/PAN.tif" "$folder/pair/MS.tif" "$folder/straight.tif" --sensor WV3 --method MTF-GLP-FS --quiet
cmp "$folder/qgis.tif" "$folder/straight.tif" || fail "QGIS's result differs from the command's"

echo "== SSDiff with uncertainty"
process run ssdiff:pansharpen "${pair[@]}" --SENSOR=WV3 --METHOD=SSDiff --SAMPLES=2 --EXTRA="--adapt 0 --steps 1" \
  --OUTPUT="$folder/mean.tif" --UNCERTAINTY="$folder/spread.tif" | tail -n 12
test -s "$folder/mean.tif" && test -s "$folder/spread.tif" || fail "a file is missing"

echo "== an error is shown, and nothing is written"
process run ssdiff:pansharpen "${pair[@]}" --SENSOR=QB --METHOD=EXP --OUTPUT="$folder/none.tif" > "$folder/said" || true
grep "ms has 8 bands but QB has 4" "$folder/said" || { cat "$folder/said"; fail "the error is not shown"; }
test ! -e "$folder/none.tif" || fail "a file was written"

echo "all well, in $(process --version | grep -m 1 "^QGIS")"
