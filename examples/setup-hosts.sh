#!/bin/sh
# Install what the hosts in other languages need and this machine lacks: a C++ compiler, CMake, nlohmann-json and libhdf5,
# node and npm, Chromium, and onnxruntime-web. Debian and Ubuntu; elsewhere, and without root or sudo, it says what is
# missing, and `make hosts` skips the hosts that need it.
set -eu
cd "$(dirname "$0")/web"

missing=
need() { # need PROGRAM PACKAGE
    command -v "$1" > /dev/null 2>&1 || missing="$missing $2"
}
need cmake cmake
need c++ g++
need node nodejs
need npm npm
command -v chromium > /dev/null 2>&1 || command -v google-chrome > /dev/null 2>&1 || missing="$missing chromium"
[ -e /usr/include/nlohmann/json.hpp ] || missing="$missing nlohmann-json3-dev"
[ -e /usr/include/hdf5.h ] || [ -e /usr/include/hdf5/serial/hdf5.h ] || missing="$missing libhdf5-dev"

if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root="sudo -n"
    if command -v apt-get > /dev/null 2>&1 && $as_root true 2> /dev/null; then
        echo "installing$missing"
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086  # a list of words
        { $as_root apt-get update -q && $as_root apt-get install -q -y --no-install-recommends $missing; } ||
            echo "apt-get failed; hosts that need$missing will be skipped" >&2
    else
        echo "install these first, for all hosts to run:$missing" >&2
    fi
fi

# The packages run nothing when they are installed; what is installed already is left alone.
if command -v npm > /dev/null 2>&1 && [ ! -d node_modules/onnxruntime-web/dist ]; then
    npm ci --ignore-scripts --no-audit --no-fund ||
        echo "npm failed; node and the browser will be skipped" >&2
fi
