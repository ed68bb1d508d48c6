"""What this machine is, has and gives to this process: read here for the host side, the gate and the stages."""
