#!/usr/bin/env bash
# Build step of an image for a GPU: lets the loader find the CUDA and cuDNN that pip installed, and
# fails where ONNX Runtime's CUDA provider would not load for want of one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'link_cuda.sh: %s\n' "$*" >&2; exit 1; }

find "$PWD/.venv/lib" -type d -path '*/nvidia/*/lib' >/etc/ld.so.conf.d/foresight-cuda.conf
ldconfig
provider=$(find .venv/lib -name libonnxruntime_providers_cuda.so)
[ -n "$provider" ] || fail "the ONNX Runtime in .venv has no CUDA provider"
# the driver's library comes when a container is started
missing=$(ldd "$provider" | awk '/not found/ && $1 != "libcuda.so.1" { printf " %s", $1 }')
# the provider opens cuDNN later, by itself
case $(ldconfig -p) in *libcudnn.so.*) ;; *) missing="$missing libcudnn" ;; esac
[ -z "$missing" ] || fail "ONNX Runtime's CUDA provider lacks$missing"
