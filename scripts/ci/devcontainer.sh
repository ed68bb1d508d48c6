#!/bin/sh
# The devcontainer command, with which a test reads .devcontainer/, in the folder $1: FOLDER/node_modules/.bin. Needs npm.
set -eu
timeout 120 npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$1" @devcontainers/cli@0.89.0
