#!/usr/bin/env bash
# Builds load_and_run against the libraries in TensorFlow's pip package (15 s): bash build_loader.sh OUTPUT
# PYTHON names an interpreter that has TensorFlow (default: python3); CXX a compiler (default: g++).
set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: bash build_loader.sh OUTPUT" >&2
  exit 2
fi
mapfile -t found < <("${PYTHON:-python3}" -c '
import tensorflow as tf
print(tf.sysconfig.get_lib(), *tf.sysconfig.get_compile_flags(), sep="\n")' 2>/dev/null)
if [ ${#found[@]} -lt 2 ]; then
  echo "build_loader.sh: ${PYTHON:-python3} has no TensorFlow: name another with PYTHON=..." >&2
  exit 1
fi
lib=${found[0]}
# -w: the warnings are about the headers of the package.
"${CXX:-g++}" -O1 -w "${found[@]:1}" "$(dirname "$0")/load_and_run.cc" -o "$1" -Wl,--no-as-needed -L"$lib" \
  -Wl,-rpath,"$lib" -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2
