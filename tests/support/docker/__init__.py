"""The daemon, images, containers and compose projects of tests."""
