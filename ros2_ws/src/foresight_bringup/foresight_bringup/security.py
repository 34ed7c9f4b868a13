"""What launch files give to processes of an encrypted graph (SROS2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launch.actions import SetEnvironmentVariable


def secured(keystore: str, names: Sequence[str]) -> list[SetEnvironmentVariable]:
    """What makes ROS refuse whoever is not of the keystore; nothing if that is empty.

    Args:
        names: of the processes, each with the enclave /foresight/NAME.

    Raises:
        FileNotFoundError: an enclave is missing.
    """
    if not keystore:
        return []
    for name in names:
        if not (Path(keystore) / "enclaves" / "foresight" / name).is_dir():
            raise FileNotFoundError(
                f"security is {keystore}, which has no enclave /foresight/{name}; "
                f"make it as docs/security.md says"
            )
    values = {"ENABLE": "true", "STRATEGY": "Enforce", "KEYSTORE": str(Path(keystore).resolve())}
    return [SetEnvironmentVariable(f"ROS_SECURITY_{k}", value) for k, value in values.items()]


def enclave(keystore: str, name: str) -> list[str]:
    """ROS arguments by which a process enters its enclave; none without a keystore."""
    return ["--enclave", f"/foresight/{name}"] if keystore else []
