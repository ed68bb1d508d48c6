#!/bin/sh
# The programs by which others judge what capillary exports, as $1/rocrate-validator and $1/bioimageio. Each has an
# environment of its own, because they need other versions of packages. bioimageio finds torch, and what else it can
# share, in the environment of the interpreter $2, and is not given them a second time.
set -eu
folder=$1 python=${2:-.venv/bin/python}
packages() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
install() {
    program=$1; shift
    "$python" -m venv "$folder/$program-env"
    "$folder/$program-env/bin/pip" install --quiet --disable-pip-version-check "$@"
    ln -sf "$program-env/bin/$program" "$folder/$program"
}
mkdir -p "$folder"
install rocrate-validator roc-validator==0.13.0
# this bioimageio.spec cannot be imported with a newer pydantic
install bioimageio --no-deps bioimageio.core==0.11.0 bioimageio.spec==0.5.12.0 pydantic==2.12.5 pydantic-core==2.41.5 \
    genericache==0.5.2 xarray==2026.9.0
packages "$python" >"$(packages "$folder/bioimageio-env/bin/python")/shared.pth" # after its own on the path
