# Images with the code inside, for places that pull an image instead of building one:
#   docker buildx bake --print                 what would be built
#   docker buildx bake release-cpu --load --set '*.platform=linux/amd64'
#   TAG=1.2.0 REGISTRY=registry.example.org/lab/ docker buildx bake release --push
# Two platforms at once need a builder that can: docker buildx create --use
# The launcher needs none of this: it builds a stage's environment when it is missing, and mounts the code.

variable "BASE" {
  default = "python:3.11-slim-bookworm" # or with a digest: python:3.11-slim-bookworm@sha256:…
}
# where a build reaches package indexes through a proxy, at an address that the builder reaches (none of the loopback).
# Docker keeps these out of layers and history
variable "HTTP_PROXY" {
  default = null
}
variable "http_proxy" {
  default = null
}
variable "HTTPS_PROXY" {
  default = null
}
variable "https_proxy" {
  default = null
}
variable "FTP_PROXY" {
  default = null
}
variable "ftp_proxy" {
  default = null
}
variable "ALL_PROXY" {
  default = null
}
variable "all_proxy" {
  default = null
}
variable "NO_PROXY" {
  default = null
}
variable "no_proxy" {
  default = null
}
variable "TAG" {
  default = "latest"
}
variable "REGISTRY" {
  default = "" # with its trailing slash
}
# where pip looks for torch next to its own index
variable "TORCH_INDEX" {
  default = ""
}
variable "TORCH_INDEX_CPU" {
  default = "${TORCH_INDEX}"
}
variable "TORCH_INDEX_CUDA" {
  default = "${TORCH_INDEX}"
}
# the CUDA version of that index's torch (12.6), where it is not that of constraints.txt
variable "TORCH_CUDA" {
  default = ""
}

group "default" {
  targets = ["release-cpu"]
}
group "release" {
  targets = ["light", "torch", "experiment", "dvc-runner", "mlflow", "object-store", "serve"]
}
group "release-cpu" {
  targets = ["light", "train-cpu", "evaluate-cpu", "experiment-cpu", "dvc-runner", "mlflow", "object-store", "serve"]
}
group "release-cuda" {
  targets = ["light", "train-cuda", "evaluate-cuda", "experiment-cuda", "dvc-runner", "mlflow", "object-store", "serve"]
}

target "_common" {
  context   = "."
  platforms = ["linux/amd64", "linux/arm64"]
  args = {
    HTTP_PROXY  = HTTP_PROXY
    http_proxy  = http_proxy
    HTTPS_PROXY = HTTPS_PROXY
    https_proxy = https_proxy
    FTP_PROXY   = FTP_PROXY
    ftp_proxy   = ftp_proxy
    ALL_PROXY   = ALL_PROXY
    all_proxy   = all_proxy
    NO_PROXY    = NO_PROXY
    no_proxy    = no_proxy
  }
}

# stages without torch: one image serves machines with and without a GPU
target "light" {
  name       = stage
  matrix     = { stage = ["ingest", "preprocess", "preflight"] }
  inherits   = ["_common"]
  dockerfile = "stages/Dockerfile"
  target     = "release"
  args       = { BASE = BASE, VERSION = TAG, STAGE = stage }
  tags       = ["${REGISTRY}capillary-${stage}:${TAG}"]
}

target "torch" {
  name       = "${stage}-${torch}"
  matrix     = { stage = ["train", "evaluate"], torch = ["cpu", "cuda"] }
  inherits   = ["_common"]
  dockerfile = "stages/Dockerfile"
  target     = "release"
  args = {
    BASE        = BASE
    VERSION     = TAG
    STAGE       = stage
    TORCH       = torch
    # an index that is another one than before makes the layers again; the index itself is a secret
    TORCH_INDEX_ID = sha256(torch == "cuda" ? TORCH_INDEX_CUDA : TORCH_INDEX_CPU)
    TORCH_CUDA     = torch == "cuda" ? TORCH_CUDA : ""
  }
  secret = [
    torch == "cuda"
    ? "id=torch_index,env=${TORCH_INDEX_CUDA == TORCH_INDEX ? "TORCH_INDEX" : "TORCH_INDEX_CUDA"}"
    : "id=torch_index,env=${TORCH_INDEX_CPU == TORCH_INDEX ? "TORCH_INDEX" : "TORCH_INDEX_CPU"}"
  ]
  tags = ["${REGISTRY}capillary-${stage}:${TAG}-${torch}"]
}

# a whole experiment in one container, without a checkout or a Docker socket (docs/release-image.md)
target "experiment" {
  name       = "experiment-${torch}"
  matrix     = { torch = ["cpu", "cuda"] }
  inherits   = ["_common"]
  dockerfile = "Dockerfile.release"
  target     = "release"
  args = {
    BASE        = BASE
    VERSION     = TAG
    TORCH       = torch
    TORCH_INDEX_ID = sha256(torch == "cuda" ? TORCH_INDEX_CUDA : TORCH_INDEX_CPU)
    TORCH_CUDA     = torch == "cuda" ? TORCH_CUDA : ""
  }
  secret = [
    torch == "cuda"
    ? "id=torch_index,env=${TORCH_INDEX_CUDA == TORCH_INDEX ? "TORCH_INDEX" : "TORCH_INDEX_CUDA"}"
    : "id=torch_index,env=${TORCH_INDEX_CPU == TORCH_INDEX ? "TORCH_INDEX" : "TORCH_INDEX_CPU"}"
  ]
  tags = ["${REGISTRY}capillary-experiment:${TAG}-${torch}"]
}

# computes on a CPU; docs/serve.md
target "serve" {
  inherits   = ["_common"]
  dockerfile = "serving/Dockerfile"
  args       = { BASE = BASE, VERSION = TAG, TORCH_INDEX_ID = sha256(TORCH_INDEX_CPU) }
  secret     = ["id=torch_index,env=${TORCH_INDEX_CPU == TORCH_INDEX ? "TORCH_INDEX" : "TORCH_INDEX_CPU"}"]
  tags       = ["${REGISTRY}capillary-serve:${TAG}-cpu"]
}

target "dvc-runner" {
  inherits   = ["_common"]
  dockerfile = "Dockerfile.dvc-runner"
  args       = { BASE = BASE, VERSION = TAG }
  tags       = ["${REGISTRY}capillary-dvc-runner:${TAG}"]
}

target "mlflow" {
  inherits   = ["_common"]
  dockerfile = "services/mlflow/Dockerfile"
  args       = { BASE = BASE, VERSION = TAG }
  tags       = ["${REGISTRY}capillary-mlflow:${TAG}"]
}

target "object-store" {
  inherits   = ["_common"]
  dockerfile = "services/object-store/Dockerfile"
  args       = { BASE = BASE, VERSION = TAG }
  tags       = ["${REGISTRY}capillary-object-store:${TAG}"]
}
