#!/usr/bin/env bash
# Who may include whom (docs/architecture.md): reads every #include of the sources and fails on one that is not allowed, on
# OpenMP outside of its header, and on a layer that is not listed. Then plants faults in a copy of the sources, each of
# which must be found: a check that cannot fail is worth nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folders=(engine layers mbs wavecore datasets apps tests)

# Prints one line for every violation in the tree below the current folder.
violations() {
  grep -rnE '^[[:space:]]*#[[:space:]]*(include|pragma[[:space:]]+omp)' "${folders[@]}" \
    --include='*.h' --include='*.cpp' --include='*.inc' | awk '
    BEGIN {
      # What each folder may include of ours.
      may["engine"]   = "^engine/"
      may["layers"]   = "^(layers/|engine/(check|event|gemm|layer|network|parallel|random|real|shape|spec|words)\\.h$)"
      may["mbs"]      = "^(mbs/|engine/(check|dataflow|event|layer|network|program|recompute|schedule|shape|spec|words)\\.h$)"
      may["wavecore"] = "^(wavecore/|engine/(check|event|words)\\.h$)"
      may["datasets"] = "^(datasets/|engine/(check|parallel|random|real|shape|words)\\.h$)"
      may["apps"]     = "^(engine|layers|mbs|wavecore|datasets|apps)/"
      # The rooms of apps/ stand on floors; a file may include its own room and lower floors.
      floor["system"] = 1; floor["report"] = 2; floor["options"] = 3; floor["resolve"] = 4
      floor["training"] = 5; floor["measure"] = 6; floor["model"] = 6; floor["commands"] = 7
      may["tests"]    = "^(engine|layers|mbs|wavecore|datasets|apps|tests)/"
      # Who may include what is not ours; anything not named here may be included anywhere.
      only["^cblas\\.h$"]  = "^engine/gemm\\.cpp$"
      only["^omp\\.h$"]    = "^engine/parallel\\.h$"
      only["^mpi\\.h$"]    = "^$"
      only["^stb"]         = "^(datasets/(stb_image_impl|image)\\.cpp$|tests/)"
      only["^hwy/"]        = "^(layers/kernels/|apps/resolve/machine_info\\.cpp$|tests/)"
      only["^CLI/"]        = "^apps/options/parser\\.cpp$"
      only["^nlohmann/"]   = "^(mbs/plan_json|wavecore/machine_file|apps/|tests/)"
      only["^doctest"]     = "^tests/"
      only["^(oneapi|dnnl|dlib)"] = "^tests/peers/"
    }
    {
      split($0, at, ":")
      path = at[1]
      line = substr($0, length(at[1]) + length(at[2]) + 3)
      folder = path
      sub("/.*", "", folder)
      where = path ":" at[2] ": "
      if (line ~ /^[[:space:]]*#[[:space:]]*pragma/) {
        if (path != "engine/parallel.h") print where "OpenMP belongs into engine/parallel.h alone"
        next
      }
      ours = line ~ /include[[:space:]]*"/
      if (match(line, /[<"][^">]+[">]/) == 0) next  # a macro, as Highway has
      target = substr(line, RSTART + 1, RLENGTH - 2)
      if (ours && target !~ may[folder]) print where folder "/ may not include \"" target "\""
      if (!ours && target ~ /^(engine|layers|mbs|wavecore|datasets|apps|tests)\//)
        print where "write \"" target "\", not <" target ">"
      if (path ~ /^apps\/[^\/]+\// && target ~ /^apps\/[^\/]+\//) {
        split(path, from, "/"); split(target, to, "/")
        if (!(from[2] in floor)) print where "apps/" from[2] "/ is no room of docs/architecture.md"
        else if (from[2] != to[2] && floor[to[2]] >= floor[from[2]])
          print where "apps/" from[2] "/ may not include \"" target "\": it is not on a lower floor"
      }
      if (path ~ /^apps\/[^\/]+$/ && target ~ /^apps\// && target !~ /^apps\/commands\//)
        print where "the program starts commands; it may not include \"" target "\""
      for (pattern in only)
        if (target ~ pattern && path !~ only[pattern]) print where "may not include " target
    }'
  local file name
  for file in layers/*.cpp; do
    for name in $(sed -nE 's/^LAYER\(([a-z0-9_]+),.*/\1/p' "$file"); do
      grep -qxF "X($name)" layers/list.inc ||
        echo "$file: layer '$name' is not in layers/list.inc, so nothing tests it"
    done
  done
  for file in apps/commands/*.cpp; do
    for name in $(sed -nE 's/^(NETWORK_)?COMMAND\(([a-z0-9_]+),.*/\2/p' "$file"); do
      grep -qxF "X($name)" apps/commands/list.inc ||
        echo "$file: command '$name' is not in apps/commands/list.inc, so nobody can call it"
    done
  done
}

found=$(violations)
if [[ -n $found ]]; then
  printf '%s\n' "$found" >&2
  echo "check-deps: see 'Who may include whom' in docs/architecture.md" >&2
  exit 1
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "${folders[@]}" "$copy"
cd "$copy"

planted=0
# plant FILE LINE: adds the line to the file (made where there is none) and requires a complaint that names the file.
plant() {
  local file=$1 line=$2 existed=
  mkdir -p "$(dirname "$file")"
  [[ -e $file ]] && existed=1 && cp "$file" "$copy/kept"
  printf '%s\n' "$line" >>"$file"
  if ! violations | grep -qF "$file:"; then
    echo "check-deps: does not see '$line' in $file" >&2
    exit 1
  fi
  if [[ $existed ]]; then mv "$copy/kept" "$file"; else rm "$file"; fi
  planted=$((planted + 1))
}
plant engine/network.cpp '#include "layers/registry.h"'
plant engine/schedule.h '#include "wavecore/accountant.h"'
plant layers/relu.cpp '#include "engine/schedule.h"'
plant layers/conv2d.cpp '  #  include "mbs/planner.h"'
plant mbs/planner.cpp '#include "wavecore/accountant.h"'
plant mbs/planner.cpp '#include "engine/executor.h"'
plant mbs/traffic.h '#include "layers/registry.h"'
plant wavecore/accountant.h '#include "engine/network.h"'
plant wavecore/accountant.cpp '#include <engine/schedule.h>'
plant datasets/loader.cpp '#include "engine/network.h"'
plant apps/main.cpp '#include "tests/doctest.h"'
plant apps/main.cpp '#include "planner.h"'
plant layers/linear.cpp '#include <cblas.h>'
plant engine/executor.cpp '#include <omp.h>'
plant datasets/loader.cpp '#pragma omp parallel for'
plant datasets/cifar.cpp '#include <stb/stb_image.h>'
plant engine/executor.cpp '#include <hwy/highway.h>'
plant engine/data_parallel.cpp '#include <mpi.h>'
plant layers/conv2d.cpp '#include <oneapi/dnnl/dnnl.hpp>'
plant tests/main.cpp '#include <dlib/dnn.h>'
plant apps/options/parser.h '#include "apps/commands/command.h"'
plant apps/model/step_table.cpp '#include "apps/measure/plan_race.h"'
plant apps/resolve/machine_info.h '#include "apps/training/experiment.h"'
plant apps/system/hash.h '#include "apps/report/progress.h"'
plant apps/attic/thing.cpp '#include "apps/system/hash.h"'
plant apps/main.cpp '#include "apps/training/experiment.h"'
plant apps/commands/info_command.cpp '#include <CLI/App.hpp>'
plant apps/commands/unlisted_command.cpp 'COMMAND(unlisted, Unlisted, "", "", "")'
plant layers/unlisted.cpp 'LAYER(unlisted, make_unlisted, "| 1x1x1")'
[[ -z $(violations) ]] || { echo "check-deps: the copy is not clean after the planted faults" >&2; exit 1; }
echo "check-deps: no forbidden include, and each of $planted planted ones was found"
