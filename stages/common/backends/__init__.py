"""Which library computes a prediction on a CPU: torch, or OpenVINO where a probe finds that both decide alike."""
