#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need and that are missing. Nothing missing: says
# nothing, changes nothing, needs no network. `make test` and `make demo` call it; arguments are further packages to
# install. docs/dependencies.md gives the reasons.
set -euo pipefail

packages=(
  g++ libopenblas-openmp-dev libstb-dev doctest-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libfmt-dev
  zlib1g-dev libhwy-dev dataset-fashion-mnist curl ca-certificates "$@"
)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  cat >&2 <<EOF
setup.sh installs packages on Debian (12 or later) and its relatives only. Elsewhere, please install:
  a C++20 compiler (g++ 12 or later) with OpenMP, GNU make
  OpenBLAS built with OpenMP, Google Highway, fmt, zlib, CLI11, toml++, nlohmann-json, stb, doctest
  Fashion-MNIST as four IDX files, given to mbs as --data-dir; curl, for \`mbs data get\`
and then run \`make all run-tests\`, with BLAS_DIR=<folder of libopenblas.so> where the linker must look elsewhere.
EOF
  exit 1
fi

# One line per package that dpkg knows; it fails where it does not know one.
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
  grep -qxF "$package installed" <<<"$installed" || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID == 0)); then
  root=()
elif command -v sudo >/dev/null; then
  root=(sudo)
else
  echo "These Debian packages are missing, and installing them needs root or sudo. Please ask for:" >&2
  echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

echo "Installing with apt-get (system packages, so it needs root${root:+, through sudo}): ${missing[*]}"
apt_get() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@"; }

# The package lists are fetched only where they do not know a package yet.
for package in "${missing[@]}"; do
  if ! apt-cache show --no-all-versions "$package" >/dev/null 2>&1; then
    apt_get update
    break
  fi
done
# A list that knows the package may still be too old to fetch it.
apt_get install --no-install-recommends "${missing[@]}" || {
  apt_get update
  apt_get install --no-install-recommends "${missing[@]}"
}
