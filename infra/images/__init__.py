"""Images made on this machine and given to its engine, without a registry and `docker build`."""
