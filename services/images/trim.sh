#!/bin/sh
# Removes from the venv of an image what a runtime never needs: packages' own tests, C++ headers, MLflow's web pages;
# and pip, unless MLflow is there, which writes pip's version next to a model.
set -eu
cd /opt/venv/lib/python3*/site-packages
rm -rf pyarrow/include torch/test torch/include torch/share mlflow/server/js
for package in numpy scipy pandas sklearn matplotlib networkx sympy pyarrow nibabel; do
  if [ -d "$package" ]; then find "$package" -type d -name tests -prune -exec rm -rf {} +; fi
done
if [ -d openvino ]; then  # models come from torch alone, and only a CPU computes them
  rm -rf openvino/include openvino/libs/cache.json openvino/libs/libopenvino_intel_[gn]pu_plugin.so*
  for other in gguf jax onnx paddle tensorflow tensorflow_lite; do
    rm -f "openvino/libs/libopenvino_${other}_frontend.so"*
  done
fi
if [ -d torch/bin ]; then find torch/bin -type f ! -name torch_shm_manager -delete; fi
[ -d mlflow ] || rm -rf pip pip-*.dist-info /opt/venv/bin/pip*
