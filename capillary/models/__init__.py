"""`capillary models`: what is done with registered models from the command line."""
