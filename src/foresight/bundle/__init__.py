"""A world model on disk: a folder with `manifest.yaml` and ONNX graphs."""

from foresight.bundle.loading import Bundle, BundleError, load
from foresight.bundle.manifest import ImageSpec, Manifest
from foresight.bundle.sessions import PROVIDERS, Runtime

__all__ = ["PROVIDERS", "Bundle", "BundleError", "ImageSpec", "Manifest", "Runtime", "load"]
