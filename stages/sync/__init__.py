"""`capillary sync`: what waits in the outbox goes to the server."""
