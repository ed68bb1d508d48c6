#!/bin/sh
# torch in the builder of an image, for requirements that pin it. FOLDER holds requirements.txt and constraints.txt.
#   sh torch.sh install FOLDER   in the build for the CUDA version TORCH_CUDA (12.6), of any where that is empty
#   sh torch.sh check FOLDER     that what came is what TORCH (cpu or cuda) and TORCH_CUDA ask for
set -eu
wanted=${TORCH_CUDA:-}
grep -q '^torch==' "$2/requirements.txt" || exit 0

install() {
  # a build for another CUDA than the pinned one brings CUDA's packages in the versions that torch itself asks for
  case "$(sed -n 's/^cuda-toolkit==//p' "$1/constraints.txt")" in
    "$wanted"*) ;;
    *) sed -i -E '/^nvidia-ml-py/b; /^(cuda|nvidia)-/d' "$1/constraints.txt" ;;
  esac
  # another index to look into for torch, such as one with CPU builds. It is a secret, since its URL may hold a password
  if [ -s /run/secrets/torch_index ]; then
    PIP_EXTRA_INDEX_URL=$(cat /run/secrets/torch_index)
    export PIP_EXTRA_INDEX_URL
  fi
  pip install -c "$1/constraints.txt" torch
}

check() {
  build=$(python -c "import torch; print(torch.version.cuda or 'cpu')")
  case "$TORCH:$build" in
    cpu:cpu) ;;
    cpu:*) echo "note: torch came with CUDA $build, which a CPU does not need and which makes this image several GB larger;" \
                "name PyTorch's index of CPU builds in CAPILLARY_TORCH_INDEX" ;;
    cuda:cpu) echo "error: an image for GPUs was asked for (TORCH=cuda), but torch came without CUDA;" \
                   "remedy: name PyTorch's index of CUDA builds in CAPILLARY_TORCH_INDEX," \
                   "or set CAPILLARY_TORCH=cpu to train without a GPU" >&2; exit 1 ;;
    cuda:*) ;;
    *) echo "error: TORCH is cpu or cuda, not $TORCH; remedy: correct CAPILLARY_TORCH" >&2; exit 1 ;;
  esac
  case "$wanted" in
    ""|"$build") ;;
    *) echo "error: torch for CUDA $wanted was asked for, but came with CUDA $build: the index has no build of it in" \
            "this version; remedy: correct CAPILLARY_TORCH_INDEX_CU$(echo "$wanted" | tr -d .)" >&2; exit 1 ;;
  esac
}

"$1" "$2"
