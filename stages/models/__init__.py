"""The registry's side of `capillary models`: fetches files of versions and registers new ones. It unpickles nothing."""
