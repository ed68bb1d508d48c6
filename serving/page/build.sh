#!/bin/sh
# Fetch the pinned viewer and put its one file where the service finds it. Needs npm; the service itself needs neither
# npm nor a network. No package's own scripts are run.
set -eu
cd "$(dirname "$0")"
npm ci --ignore-scripts --no-audit --no-fund --omit=optional --loglevel=error
cp node_modules/@niivue/niivue/dist/index.js static/niivue.js
