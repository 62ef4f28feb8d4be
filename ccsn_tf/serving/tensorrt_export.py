"""From an ONNX file of ours to an engine that was checked, and run where there is a GPU for it."""

from __future__ import annotations
