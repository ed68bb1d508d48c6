"""`capillary doctor`: what is wrong between this machine and its remote, registry, proxy and daemon, in words."""
