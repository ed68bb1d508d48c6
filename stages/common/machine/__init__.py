"""What this machine is and has, and what this process may use of it, for the host side, the gate and the stages."""
